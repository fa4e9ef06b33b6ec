-- One row for each user: what TG-Staff's profile API says, and the conversation that came last.
CREATE TABLE profiles (
    user_id         text PRIMARY KEY,   -- the route's conflictColumns: a row is found by it
    username        text,
    first_name      text,
    language        text,
    tags            text[],
    conversation_id text,
    seen_at         timestamptz
);
