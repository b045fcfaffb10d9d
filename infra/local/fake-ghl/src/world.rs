//! The invented location and everything around it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::{
    desk::Desk, options::Options, people::People, random::Seed, settings::FakeSettings, signing::WebhookKey,
    store::Store,
};

/// What every handler sees.
pub(crate) type Shared = Arc<World>;

/// The invented location and everything around it.
pub(crate) struct World {
    pub(crate) location: String,
    pub(crate) token: String,
    pub(crate) key: WebhookKey,
    pub(crate) webhook_secret: String,
    pub(crate) webhook_secret_header: String,
    pub(crate) http: reqwest::Client,
    pub(crate) latency_seed: Seed,
    pub(crate) first_seed: u64,
    pub(crate) first_orders: u32,
    pub(crate) first_settings: FakeSettings,
    store: RwLock<Store>,
    desk: Mutex<Desk>,
    people: Mutex<People>,
}

// A lock is poisoned only by a bug that has already shown itself: the fake goes on with what is there.
impl World {
    /// As it is at the start.
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let key = match &options.webhook_signing_key {
            Some(text) => WebhookKey::from_base64(text)?,
            None => WebhookKey::from_seed(options.seed),
        };
        let settings = options.settings();
        Ok(Self {
            location: options.location_id.clone(),
            token: options.token.clone(),
            key,
            webhook_secret: options.webhook_secret.clone(),
            webhook_secret_header: options.webhook_secret_header.to_lowercase(),
            http: reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?,
            latency_seed: Seed(options.seed),
            first_seed: options.seed,
            first_orders: options.orders,
            store: RwLock::new(Store::new(Seed(options.seed), options.orders, &options.location_id)),
            desk: Mutex::new(Desk { settings: settings.clone(), ..Desk::default() }),
            first_settings: settings,
            people: Mutex::default(),
        })
    }

    /// The orders and products, to read.
    pub(crate) fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The orders and products, to change.
    pub(crate) fn store_mut(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counters, limit, faults, settings. Not to be held across an await.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who was shown to anybody. Not to be held across an await.
    pub(crate) fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings of this moment.
    pub(crate) fn settings(&self) -> FakeSettings {
        self.desk().settings.clone()
    }
}
