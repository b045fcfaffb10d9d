//! Where a stack listens.

use anyhow::{Context, Result};

use crate::develop::stack::options::StackOptions;
use crate::services::require_free;

/// Seven ports in a row: the stack's five, and those of `sam local` beside it.
pub(crate) struct Ports {
    pub(crate) gateway: u16,
    pub(crate) postgres: u16,
    pub(crate) postgrest: u16,
    pub(crate) supabase: u16,
    pub(crate) ghl: u16,
    pub(crate) sam_api: u16,
    pub(crate) sam_lambda: u16,
}

impl Ports {
    pub(crate) fn from(base: u16) -> Result<Self> {
        let port = |offset| base.checked_add(offset).context("--port-base is too high");
        Ok(Self {
            gateway: port(0)?,
            postgres: port(1)?,
            postgrest: port(2)?,
            supabase: port(3)?,
            ghl: port(4)?,
            sam_api: port(5)?,
            sam_lambda: port(6)?,
        })
    }

    /// Those of a stack made like that: its account may be another one's.
    pub(crate) fn of(options: &StackOptions) -> Result<Self> {
        let own = Self::from(options.port_base)?;
        Ok(Self { gateway: options.account_of.unwrap_or(own.gateway), ..own })
    }

    /// Those of the stack.
    pub(crate) fn require_free(&self, options: &StackOptions) -> Result<()> {
        if options.account_of.is_none() {
            require_free(self.gateway, "local cloud")?;
        }
        require_free(self.postgres, "Postgres")?;
        require_free(self.postgrest, "PostgREST")?;
        require_free(self.supabase, "local Supabase")?;
        require_free(self.ghl, "fake GHL")
    }
}
