//! Providers on the command line, by the names that they have in YAML.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use hookswitch_crds::subscription::Provider;

/// Every provider.
const ALL: [(&str, Provider); 11] = [
    ("TGStaff", Provider::TGStaff),
    ("StandardWebhooks", Provider::StandardWebhooks),
    ("GitHub", Provider::GitHub),
    ("Stripe", Provider::Stripe),
    ("Slack", Provider::Slack),
    ("Shopify", Provider::Shopify),
    ("Zendesk", Provider::Zendesk),
    ("HubSpot", Provider::HubSpot),
    ("Intercom", Provider::Intercom),
    ("Telegram", Provider::Telegram),
    ("Generic", Provider::Generic),
];

/// Takes a provider's name.
pub(crate) fn parser() -> impl TypedValueParser<Value = Provider> {
    PossibleValuesParser::new(ALL.map(|(name, _)| name))
        .try_map(|text| parse(&text).ok_or("not a provider"))
}

/// The provider of that name.
pub(crate) fn parse(text: &str) -> Option<Provider> {
    let found = ALL.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, provider)| provider)
}

/// Its name.
pub(crate) fn name(provider: Provider) -> &'static str {
    let found = ALL.into_iter().find(|(_, known)| *known == provider);
    found.map_or("Generic", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_yaml() {
        for (name, provider) in ALL {
            assert_eq!(serde_json::to_value(provider).unwrap(), name);
        }
    }
}
