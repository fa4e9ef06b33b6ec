//! Local stand-ins for the systems that Hookswitch delivers to, for trying things out.

pub mod crm;

use clap::Subcommand;

/// The stand-ins there are.
#[derive(Debug, Subcommand)]
pub enum Mock {
    /// A CRM: prints what it gets, and takes each Idempotency-Key once
    #[command(after_help = crm::EXAMPLES)]
    Crm(crm::Args),
}

impl Mock {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    /// Where it can't listen, or can't write its record.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Crm(args) => crm::run(args).await,
        }
    }
}
