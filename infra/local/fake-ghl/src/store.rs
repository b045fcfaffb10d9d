//! Every order of the invented location, newest first.
//!
//! An ordinary order is two numbers in an index and is made when somebody asks for it; only odd and changed orders are
//! kept as JSON. So 100,000 orders take a few megabytes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
};

use serde_json::Value;

use crate::{
    catalogue::{self, Product},
    clock,
    expected::{self, Expected},
    filter::{Facts, Filter},
    id::Id,
    odd,
    ordinary::{self, Person},
    patch,
    random::Seed,
};

/// The orders and products.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) seed: Seed,
    location: String,
    count: u64,
    events: Vec<Product>,
    /// What `GET /products/` is made from.
    pub(crate) products: Vec<Product>,
    index: Vec<Entry>,
    ordinary: HashMap<Id, u32>,
    kept: HashMap<Id, Kept>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    created: i64,
    id: Id,
}

impl Entry {
    fn key(&self) -> (Reverse<i64>, Reverse<Id>) {
        (Reverse(self.created), Reverse(self.id))
    }
}

#[derive(Debug)]
struct Kept {
    order: Value,
    /// When it was last changed and what it was before, for lists that lag behind.
    changed: Option<(i64, Option<Value>)>,
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) orders: Vec<(Id, Value)>,
    pub(crate) total: usize,
}

/// The ids and counts of all invented orders: the answer of `GET /_control/orders`.
pub(crate) struct Census {
    pub(crate) ordinary: Vec<Id>,
    pub(crate) all: Vec<Id>,
    pub(crate) valid: Vec<Id>,
    pub(crate) expected_tickets: u64,
    pub(crate) ordinary_tickets: u64,
    pub(crate) odd: BTreeMap<&'static str, Id>,
}

impl Store {
    /// `count` ordinary orders and the odd dozen spread among them.
    pub(crate) fn new(seed: Seed, count: u32, location: &str) -> Self {
        let events = catalogue::events(seed);
        let mut store = Self {
            seed,
            location: location.to_owned(),
            count: u64::from(count),
            products: events.iter().cloned().chain([catalogue::unlisted(seed)]).collect(),
            events,
            index: Vec::with_capacity(count as usize + odd::NAMES.len()),
            ordinary: HashMap::with_capacity(count as usize),
            kept: HashMap::new(),
        };
        let places = u64::from(count) + odd::NAMES.len() as u64;
        let odd_places: Vec<u64> = (0..odd::NAMES.len() as u64).map(|odd| Self::odd_place(odd, places)).collect();
        let mut next_ordinary = 0;
        for place in 0..places {
            let created = ordinary::created(seed, place);
            let id = match odd_places.iter().position(|odd| *odd == place) {
                Some(number) => {
                    let order = odd::order(seed, location, &store.events, number, created);
                    let id = odd::id(seed, number);
                    // Old records have no milliseconds: the index holds the time as it is written.
                    let created = patch::created(&order).unwrap_or(created);
                    store.kept.insert(id, Kept { order, changed: None });
                    store.index.push(Entry { created, id });
                    continue;
                }
                None => seed.id("order", next_ordinary),
            };
            store.ordinary.insert(id, next_ordinary as u32);
            store.index.push(Entry { created, id });
            next_ordinary += 1;
        }
        store
    }

    fn odd_place(odd: u64, places: u64) -> u64 {
        odd * places / odd::NAMES.len() as u64 + places / (2 * odd::NAMES.len() as u64)
    }

    /// The order as the detail endpoint has it, `_fake` still in it.
    pub(crate) fn get(&self, id: Id) -> Option<Value> {
        if let Some(kept) = self.kept.get(&id) {
            return Some(kept.order.clone());
        }
        self.ordinary.get(&id).map(|number| self.make(id, u64::from(*number)))
    }

    fn make(&self, id: Id, number: u64) -> Value {
        let buyer = ordinary::buyer(self.seed, number, self.count);
        let tickets = ordinary::tickets(self.seed, number, self.count);
        let lines = ordinary::lines(self.seed, &self.events, number, tickets);
        let created = self.created_of_ordinary(number);
        let discount = ordinary::discount(self.seed, number);
        ordinary::order(self.seed, &self.location, id, created, &buyer, &lines, discount)
    }

    fn created_of_ordinary(&self, number: u64) -> i64 {
        let places = self.count + odd::NAMES.len() as u64;
        let mut place = number;
        for odd in 0..odd::NAMES.len() as u64 {
            if Self::odd_place(odd, places) <= place {
                place += 1;
            }
        }
        ordinary::created(self.seed, place)
    }

    /// A page of the list, newest first. Writes of the last `lag` milliseconds don't show in it yet.
    pub(crate) fn list(&self, filter: &Filter, offset: usize, limit: usize, lag: i64) -> Page {
        let fresh = clock::now() - lag;
        let hidden =
            |id: &Id| self.kept.get(id).is_some_and(|kept| matches!(kept.changed, Some((at, None)) if at > fresh));
        let shown = |entry: &&Entry| (lag == 0 || !hidden(&entry.id)) && self.admits(filter, entry);
        let (total, page): (usize, Vec<Id>) = if filter.is_open() && lag == 0 {
            (self.index.len(), self.index.iter().skip(offset).take(limit).map(|entry| entry.id).collect())
        } else {
            let ids: Vec<Id> = self.index.iter().filter(shown).map(|entry| entry.id).collect();
            (ids.len(), ids.into_iter().skip(offset).take(limit).collect())
        };
        let as_listed = |id: Id| match self.kept.get(&id) {
            Some(Kept { changed: Some((at, Some(before))), .. }) if *at > fresh => Some((id, before.clone())),
            _ => self.get(id).map(|order| (id, order)),
        };
        Page { orders: page.into_iter().filter_map(as_listed).collect(), total }
    }

    fn admits(&self, filter: &Filter, entry: &Entry) -> bool {
        if filter.is_open() {
            return true;
        }
        if let Some(kept) = self.kept.get(&entry.id) {
            return filter.admits(&Facts::of(&kept.order, entry.created));
        }
        // Of most lists that tells all, and making the order takes a while.
        if let Some(admits) = filter.by_time(entry.created, "paid") {
            return admits;
        }
        let Some(number) = self.ordinary.get(&entry.id).copied().map(u64::from) else { return false };
        let buyer = ordinary::buyer(self.seed, number, self.count);
        let lines = ordinary::lines(self.seed, &self.events, number, 1);
        let event = lines.first().map_or("", |line| line.product.name.as_str());
        filter.admits(&Facts {
            created: entry.created,
            status: "completed".to_owned(),
            payment_status: "paid".to_owned(),
            live: true,
            name: format!("{} {} {event} tickets", buyer.first_name, buyer.last_name).to_lowercase(),
            contact_id: buyer.id,
        })
    }

    /// Changes an order by a merge patch, or makes a plain valid one first. Returns it as it is now.
    pub(crate) fn put(&mut self, id: Id, change: &Value, keep_updated_at: bool, keep_nulls: bool) -> Value {
        let now = clock::now();
        let before = self.get(id);
        let mut order = before.clone().unwrap_or_else(|| self.plain(id, now));
        let updated = patch::updated(&order);
        patch::merge(&mut order, change, keep_nulls);
        if before.is_some() && !keep_updated_at && change.get("updatedAt").is_none() {
            // Never the same time twice, or the change couldn't be seen.
            let later = updated.map_or(now, |updated| now.max(updated + 1));
            patch::merge(&mut order, &serde_json::json!({"updatedAt": clock::text(later)}), false);
        }
        self.unindex(id);
        let entry = Entry { created: patch::created(&order).unwrap_or(now), id };
        let place = self.index.partition_point(|other| other.key() < entry.key());
        self.index.insert(place, entry);
        self.kept.insert(id, Kept { order: order.clone(), changed: Some((now, before)) });
        order
    }

    /// Forgets an order; `false` if there is none.
    pub(crate) fn delete(&mut self, id: Id) -> bool {
        let known = self.unindex(id);
        self.ordinary.remove(&id);
        self.kept.remove(&id);
        known
    }

    fn unindex(&mut self, id: Id) -> bool {
        let created = match (self.kept.get(&id), self.ordinary.get(&id)) {
            (Some(kept), _) => patch::created(&kept.order),
            (None, Some(number)) => Some(self.created_of_ordinary(u64::from(*number))),
            (None, None) => return false,
        };
        let by_time = created.and_then(|created| {
            let entry = Entry { created, id };
            self.index.binary_search_by(|other| other.key().cmp(&entry.key())).ok()
        });
        // An order whose time can't be read stands where it was put.
        let place = by_time.or_else(|| self.index.iter().position(|entry| entry.id == id));
        place.map(|place| self.index.remove(place)).is_some()
    }

    /// One ticket of the first event, bought now.
    pub(crate) fn plain(&self, id: Id, now: i64) -> Value {
        let lines = ordinary::lines(self.seed, self.events.get(..1).unwrap_or_default(), 0, 1);
        let lines = lines.get(..1).unwrap_or_default();
        let buyer = Person::new(self.seed, 2_000_000 + id.number() % 1_000_000);
        let mut order = ordinary::order(self.seed, &self.location, id, now, &buyer, lines, 0);
        patch::merge(&mut order, &serde_json::json!({"updatedAt": clock::text(now)}), false);
        order
    }

    /// What a right sync makes of one order.
    pub(crate) fn expected(&self, id: Id) -> Option<Expected> {
        self.get(id).map(|order| expected::of(&order, &self.location, &self.listed()))
    }

    fn listed(&self) -> HashSet<&str> {
        self.products.iter().filter(|product| product.listed).map(|product| product.id.as_str()).collect()
    }

    /// All ids and what they add up to.
    pub(crate) fn census(&self) -> Census {
        let listed = self.listed();
        let mut census = Census {
            ordinary: Vec::with_capacity(self.index.len()),
            all: Vec::with_capacity(self.index.len()),
            valid: Vec::with_capacity(self.index.len()),
            expected_tickets: 0,
            ordinary_tickets: 0,
            odd: BTreeMap::new(),
        };
        for Entry { id, .. } in &self.index {
            let number = self.ordinary.get(id).copied().map(u64::from);
            let (valid, tickets) = match (self.kept.get(id), number) {
                (Some(kept), _) => {
                    let expected = expected::of(&kept.order, &self.location, &listed);
                    (expected.valid, expected.tickets)
                }
                (None, Some(number)) => {
                    let tickets = ordinary::tickets(self.seed, number, self.count);
                    let lines = ordinary::lines(self.seed, &self.events, number, tickets);
                    let valid = lines.iter().any(|line| listed.contains(line.product.id.as_str()));
                    (valid, if valid { tickets } else { 0 })
                }
                (None, None) => (false, 0),
            };
            census.all.push(*id);
            census.expected_tickets += tickets;
            if valid {
                census.valid.push(*id);
            }
            if number.is_some() {
                census.ordinary.push(*id);
                census.ordinary_tickets += tickets;
            }
        }
        for (number, name) in odd::NAMES.iter().enumerate() {
            let id = odd::id(self.seed, number);
            if self.kept.contains_key(&id) {
                census.odd.insert(name, id);
            }
        }
        census
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store(count: u32) -> Store {
        Store::new(Seed(1), count, "here")
    }

    #[test]
    fn ordinary_orders_entitle_to_three_tickets_each_and_the_odd_dozen_to_twelve() {
        for count in [0, 1, 2, 7, 150, 1_001] {
            let census = store(count).census();
            assert_eq!(census.ordinary_tickets, 3 * u64::from(count));
            assert_eq!(census.expected_tickets, 3 * u64::from(count) + 12);
            assert_eq!(census.all.len(), count as usize + 12);
            assert_eq!(census.valid.len(), count as usize + 9);
        }
    }

    #[test]
    fn made_orders_are_judged_as_the_census_counts_them() {
        let store = store(150);
        let census = store.census();
        let each: u64 = census.all.iter().map(|id| store.expected(*id).unwrap().tickets).sum();
        assert_eq!(each, census.expected_tickets);
        let events: HashSet<String> = (census.ordinary.iter())
            .map(|id| store.get(*id).unwrap()["items"][0]["product"]["_id"].to_string())
            .collect();
        assert_eq!(events.len(), 6, "every event is sold");
    }

    #[test]
    fn a_seed_gives_the_same_world_and_another_seed_another() {
        let all = |seed: u64| {
            let store = Store::new(Seed(seed), 40, "here");
            store.census().all.into_iter().map(|id| store.get(id)).collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
    }

    #[test]
    fn every_order_is_listed_once_newest_first() {
        let store = store(150);
        let page = store.list(&Filter::default(), 0, 1_000, 0);
        assert_eq!(page.total, 162);
        let times: Vec<i64> = page.orders.iter().map(|(_, order)| patch::created(order).unwrap()).collect();
        assert!(times.is_sorted_by(|a, b| a >= b));
        assert_eq!(page.orders.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(), 162);
    }

    #[test]
    fn a_new_order_comes_first_and_a_changed_one_stays_where_it_is() {
        let mut store = store(20);
        let old = store.list(&Filter::default(), 9, 1, 0).orders[0].clone();
        let new = "aaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
        store.put(new, &json!({}), false, false);
        store.put(old.0, &json!({"paymentStatus": "refunded"}), false, false);
        let page = store.list(&Filter::default(), 0, 100, 0);
        assert_eq!((page.total, page.orders[0].0, page.orders[10].0), (33, new, old.0));
        assert!(page.orders[10].1["updatedAt"].as_str() > old.1["updatedAt"].as_str());
        let refunded = Filter::read(&HashMap::from([("paymentStatus".into(), "refunded".into())])).unwrap();
        assert_eq!(store.list(&refunded, 0, 100, 0).total, 2);
        assert!(store.delete(old.0) && !store.delete(old.0));
        assert_eq!(store.list(&Filter::default(), 0, 100, 0).total, 32);
        assert_eq!(store.get(old.0), None);
    }

    #[test]
    fn a_lagging_list_shows_what_was_there_before() {
        let mut store = store(5);
        let (id, before) = store.list(&Filter::default(), 3, 1, 0).orders[0].clone();
        store.put(id, &json!({"status": "refunded"}), false, false);
        store.put("aaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(), &json!({}), false, false);
        let page = store.list(&Filter::default(), 0, 100, 60_000);
        assert_eq!((page.total, &page.orders[3].1), (17, &before));
        assert_eq!(store.list(&Filter::default(), 0, 100, 0).total, 18);
    }
}
