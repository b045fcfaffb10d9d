//! The whole system on this machine: starts it in order, writes `stack.json`, takes it down.
//!
//! | module | what it is for |
//! |---|---|
//! | [`options`], [`keys`] | how a stack is made; its secrets |
//! | [`ports`] | where it listens |
//! | [`starting`] | each server's settings |
//! | [`cloud`] | the local cloud, and what is deployed to it |

mod cloud;
pub(crate) mod keys;
pub(crate) mod options;
mod ports;
mod starting;

use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::database::postgres::{Durability, Postgres};
use crate::develop::build;
use crate::develop::sign_in;
use crate::develop::stack::cloud::Cloud;
use crate::develop::stack::keys::StackKeys;
use crate::develop::stack::options::StackOptions;
use crate::develop::stack::ports::Ports;
use crate::develop::stack::starting::Starting;
use crate::place::{Lock, Place};
use crate::progress::Step;
use crate::services::Services;
use crate::stack_file::StackFile;
use crate::{setup, stop};

/// A running stack; dropping it stops it.
pub(crate) struct Stack {
    /// Whether SAM has built and deployed the functions.
    pub(crate) by_sam: bool,
    name: Option<String>,
    pub(crate) file: StackFile,
    pub(crate) postgres: Postgres,
    pub(crate) keys: StackKeys,
    pub(crate) ports: Ports,
    services: Services,
    place: Place,
    _lock: Lock,
}

impl Stack {
    /// Sets up, builds and starts everything.
    pub(crate) fn start(place: &Place, options: &StackOptions, durability: Durability) -> Result<Self> {
        let lock = place.lock()?;
        // Left behind by a stack that was killed.
        let _ = fs::remove_file(place.stack_file());
        let ports = Ports::of(options)?;
        ports.require_free(options)?;
        setup::for_stack(place)?;
        build::all(place)?;
        if options.by_sam {
            build::by_sam(place)?;
        }

        let step = Step::start("Starting the local stack");
        let keys = StackKeys::load_or_make(place)?;
        let postgres = Postgres::new(place, ports.postgres, keys.postgres_password.clone());
        if options.reset {
            postgres.wipe()?;
        }
        let cloud = Cloud::new(place, &ports, options);
        let mut starting = Starting { place, options, ports: &ports, keys: &keys, services: Services::default() };
        if options.account_of.is_none() {
            cloud.start(&mut starting.services)?;
        }
        starting.database(&postgres, durability)?;
        starting.postgrest()?;
        starting.supabase()?;
        let ghl = starting.ghl();
        let deployed = starting.deploy(&cloud, &ghl)?;
        starting.fake_ghl(&ghl, &cloud.http_url(&deployed)?)?;
        let file = starting.describe(&cloud, &postgres, &ghl, &deployed)?;
        let services = starting.services;
        file.write(place)?;
        step.done();
        Ok(Self {
            by_sam: options.by_sam,
            name: options.name.clone(),
            file,
            postgres,
            keys,
            ports,
            services,
            place: place.clone(),
            _lock: lock,
        })
    }

    /// Says where everything is.
    pub(crate) fn introduce(&self) -> Result<()> {
        let this = self.name.as_ref().map(|name| format!(" --name {name}")).unwrap_or_default();
        println!("dashboard    {}", sign_in::address(&self.file, "admin")?);
        println!("             signs in once, within an hour; another: cargo xtask sign-in{this}");
        println!("sign in as   admin@example.com / {}", self.keys.admin_password);
        println!("             member@example.com / {}", self.keys.member_password);
        println!("API          {}", self.file.http_url);
        println!("GHL          {}", self.file.ghl_url);
        println!("database     {}", self.file.database_url);
        println!("all of it    {}", self.place.stack_file().display());
        println!("logs         {}", self.place.own("logs").display());
        println!();
        // The other commands drive the stack without a name.
        let others = if self.name.is_some() {
            ""
        } else {
            " In another terminal: cargo xtask sync | status | webhook <order-id>."
        };
        println!("Ready.{others} Ctrl-C stops.");
        Ok(())
    }

    /// Stays until somebody asks to stop, or a server ends by itself.
    pub(crate) fn stay(&mut self) -> Result<()> {
        while !stop::requested() {
            self.services.check()?;
            let _ = stop::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    pub(crate) const fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        self.services.check()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.place.stack_file());
        self.services.stop();
    }
}
