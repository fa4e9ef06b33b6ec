//! Where an event goes and how it is signed: from the user's files, or from a provider's preset.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{Snapshot, Subscription};
use hookswitch_crds::subscription::Provider;
use reqwest::Url;
use serde_json::json;

use super::Args;
use crate::files::find::Source;
use crate::files::object::API_VERSION;
use crate::project::{self, Project};
use crate::sign::{self, Request};
use crate::{LISTEN, provider};

/// The name of the objects that stand for a provider where there are no files.
const NAME: &str = "send";

/// The header of Telegram's static token: <https://core.telegram.org/bots/api#setwebhook>.
const TELEGRAM_TOKEN: &str = "X-Telegram-Bot-Api-Secret-Token";

/// Where an event goes and how it is signed.
pub(super) struct Target {
    pub(super) provider: Provider,
    pub(super) url: Url,
    /// As the receiver sees it.
    pub(super) subscription: Subscription,
}

/// Finds it.
///
/// # Errors
/// With the remedy, where the options or the files don't say enough.
pub(super) fn find(args: &Args) -> anyhow::Result<Target> {
    if args.files.is_empty() {
        return from_preset(args);
    }
    let compiled = Project::new(Source::from_args(&args.files)?).compile();
    let subscription = choose(args, &compiled.snapshot).with_context(|| problems(&compiled))?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{}{}", LISTEN, subscription.path))?,
    };
    Ok(Target {
        provider: provider::parse(&subscription.provider).unwrap_or(Provider::Generic),
        url,
        subscription: subscription.clone(),
    })
}

/// What is wrong with the files, as a reason why a subscription is missing.
fn problems(compiled: &project::Compiled) -> String {
    let problems: Vec<String> = compiled.problems.iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        "can't choose a subscription".to_owned()
    } else {
        problems.join("\n")
    }
}

fn choose<'a>(args: &Args, snapshot: &'a Snapshot) -> anyhow::Result<&'a Subscription> {
    let wanted = |subscription: &&Subscription| {
        let key = &subscription.origin.key;
        args.subscription
            .as_ref()
            .is_none_or(|name| *name == key.to_string() || *name == key.name)
            && args
                .provider
                .is_none_or(|wanted| provider::name(wanted) == subscription.provider)
    };
    let subscriptions = snapshot.subscriptions.iter().map(Arc::as_ref);
    let found: Vec<&Subscription> = subscriptions.filter(wanted).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => {
            let all: Vec<String> = snapshot
                .subscriptions
                .iter()
                .map(|subscription| subscription.origin.key.to_string())
                .collect();
            if all.is_empty() {
                bail!("the files hold no WebhookSubscription that can be used");
            }
            bail!("no such subscription: the files hold {}", all.join(", "))
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|subscription| subscription.origin.key.to_string())
                .collect();
            bail!("choose one with --subscription: {}", names.join(", "))
        }
    }
}

/// A subscription as a user would write it for the provider.
fn from_preset(args: &Args) -> anyhow::Result<Target> {
    let (Some(wanted), Some(url)) = (args.provider, args.url.clone()) else {
        bail!("give -f, or --provider and --url");
    };
    let secret = match secret(args)? {
        Some(secret) if secret.is_empty() => bail!(sign::Error::EmptySecret),
        Some(secret) => Some(secret),
        None if args.unsigned => None,
        None => bail!(
            "no secret to sign with: set HOOKSWITCH_SECRET or --secret-file, or send it --unsigned"
        ),
    };
    let reference = json!({"name": NAME, "key": NAME});
    let origin = url.origin().ascii_serialization();
    let verification = match (wanted, &secret) {
        (_, None) => json!({"unverified": true}),
        (Provider::Generic, _) => bail!(
            "a Generic sender has no scheme of its own: describe it in a WebhookSubscription and use -f"
        ),
        (Provider::Telegram, _) => {
            json!({"headers": [{"name": TELEGRAM_TOKEN, "secretRef": reference}]})
        }
        (Provider::HubSpot, _) => {
            json!({"hmac": {"secretRefs": [reference], "publicUrl": origin}})
        }
        _ => json!({"hmac": {"secretRefs": [reference]}}),
    };
    let documents = [
        json!({
            "apiVersion": API_VERSION,
            "kind": "WebhookSubscription",
            "metadata": {"name": NAME},
            "spec": {"provider": provider::name(wanted), "verification": verification},
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME},
            "data": {NAME: secret.unwrap_or_else(|| SecretBytes::new(Vec::new()))},
        }),
    ];
    let text = documents
        .map(|document| document.to_string())
        .join("\n---\n");
    let compiled = Project::of_text(text).compile();
    match compiled.snapshot.subscriptions.first() {
        Some(subscription) => Ok(Target {
            provider: wanted,
            url,
            subscription: Subscription::clone(subscription),
        }),
        None => bail!(problems(&compiled)),
    }
}

fn secret(args: &Args) -> anyhow::Result<Option<SecretBytes>> {
    if let Some(path) = &args.secret_file {
        let mut bytes = std::fs::read(path)
            .with_context(|| format!("can't read the secret from {}", path.display()))?;
        while bytes
            .last()
            .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
        {
            bytes.pop();
        }
        return Ok(Some(SecretBytes::new(bytes)));
    }
    Ok(args
        .secret
        .as_ref()
        .map(|secret| SecretBytes::new(secret.clone().into_bytes())))
}

impl Target {
    /// The headers of static tokens.
    pub(super) fn tokens(&self) -> anyhow::Result<Vec<(String, String)>> {
        self.subscription
            .verification
            .headers
            .iter()
            .map(|token| {
                let reference = &token.secret.reference;
                let value = token
                    .secret
                    .usable()
                    .with_context(|| format!("the secret {reference} has no value in the files"))?;
                let value = std::str::from_utf8(value.expose())
                    .ok()
                    .with_context(|| format!("the secret {reference} is not text"))?;
                Ok((token.name.clone(), value.to_owned()))
            })
            .collect()
    }

    /// The headers of the signature; none where the subscription wants none.
    pub(super) fn sign(&self, request: &Request<'_>) -> anyhow::Result<Vec<(String, String)>> {
        let Some(scheme) = &self.subscription.verification.hmac else {
            return Ok(Vec::new());
        };
        let secret = scheme
            .secrets
            .iter()
            .find_map(|secret| secret.usable())
            .context("no secret that the subscription names has a value in the files")?;
        sign::headers(scheme, secret, request).context("the event can't be signed")
    }

    /// The URL as the receiver takes the sender to see it.
    pub(super) fn signed_url(&self) -> String {
        let public = self
            .subscription
            .verification
            .hmac
            .as_ref()
            .and_then(|scheme| scheme.public_url.as_deref());
        match public {
            Some(public) => {
                let rest = self.url.as_str();
                let origin = self.url.origin().ascii_serialization();
                format!(
                    "{}{}",
                    public.trim_end_matches('/'),
                    rest.strip_prefix(&origin).unwrap_or(rest)
                )
            }
            None => self.url.to_string(),
        }
    }
}
