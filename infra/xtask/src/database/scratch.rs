//! A Postgres of its own for a moment, to see what files make of an empty database.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use schema::{Catalogue, catalogue::QUERY};

use crate::database::postgres::{Durability, Postgres};
use crate::database::sql_files::sql_files;
use crate::place::Place;
use crate::services::{Services, free_port};
use crate::setup;

/// Dropping it forgets its databases.
pub(crate) struct Scratch {
    services: Services,
    postgres: Postgres,
    /// Supabase's roles, with the rights that its newer projects hand out: none. So a grant that is missing is seen.
    roles: Vec<PathBuf>,
    /// How many databases were made.
    databases: Cell<u32>,
    place: Place,
}

impl Scratch {
    pub(crate) fn start() -> Result<Self> {
        let place = Place::scratch()?;
        setup::for_stack(&place)?;
        let postgres = Postgres::new(&place, free_port()?, hex::encode(rand::random::<[u8; 16]>()));
        let mut services = Services::default();
        postgres.start(&mut services, Durability::Scratch)?;
        let mut roles = sql_files(&place.project("infra/supabase/local"))?;
        roles.extend(sql_files(&place.project("infra/supabase/strict"))?);
        Ok(Self { services, postgres, roles, databases: Cell::new(0), place })
    }

    /// What the schema files of a `supabase` directory make.
    pub(crate) fn of_schemas(&self, supabase: &Path) -> Result<Catalogue> {
        self.catalogue(&schema::files::schema_files(supabase)?).context("infra/supabase/schemas can't be applied")
    }

    /// What these migrations make, one after the other.
    pub(crate) fn of_migrations(&self, files: &[PathBuf]) -> Result<Catalogue> {
        self.catalogue(files)
    }

    fn catalogue(&self, files: &[PathBuf]) -> Result<Catalogue> {
        self.databases.set(self.databases.get() + 1);
        let database = self.postgres.make_database(&format!("catalogue_{}", self.databases.get()))?;
        database.run_files(&self.roles)?;
        database.run_files(files)?;
        Ok(Catalogue::parse(&database.query(QUERY)?)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.services.stop();
        self.place.remove();
    }
}
