//! The SQL functions and migrations, run on a real Postgres.
//!
//! | module | what it shows |
//! |---|---|
//! | `harness` | a fresh database per test, made from a migrated template; calling a function as the server does |
//! | `orders` | the order and run documents the tests send |
//! | `postgrest` | a PostgREST before a test's database, for tests that call as production does |
//! | `projects` | what older and newer projects hand out by default |
//! | `clock` | a database whose clock stands until a test moves it |
//! | `migrations` | they apply to an empty and to the original app's dirty database, and twice |
//! | `catalogues` | the schema files and the migrations make the same database |
//! | `indexes` | what is looked up by a column finds it without reading the table |
//! | `migrating` | `cargo xtask migrate`: what it applies, records and refuses |
//! | `imposters` | nobody but the database gets its password from `cargo xtask migrate` |
//! | `limiter` | grants and their ids, the lanes, 429, calls of others |
//! | `limiter_bounds` | its bounds, whatever workers do at the same time |
//! | `limiter_model` | that it grants what its model grants, after any history |
//! | `upserts` | stale guard, unchanged rows, lines that can't be read, validity |
//! | `reconciling` | tickets against lines: add, cancel, reinstate, relabel, external changes |
//! | `adoption` | tickets of the original app |
//! | `identity` | lines and tickets when GHL leaves ids out, and when they appear |
//! | `dispatch` | orders go when there are calls for them, are given back, go alone when silent |
//! | `listing` | what each kind of run fetches, skips or takes for unchanged |
//! | `refunds` | what transactions tell of refunds is taken once |
//! | `growth` | what runs leave in the database |
//! | `million` | no statement grows with the orders |
//! | `runs` | start, outcomes, end, cancel, retry, lease |
//! | `reports`, `order_history` | what is read of a run afterwards, and of an order |
//! | `system` | which facts a snapshot tells of the whole system |
//! | `publications` | pulses, grants, sequence numbers |
//! | `outlook` | what is shown of a run beside its counts: the limit's pauses, how many orders it will have |
//! | `gate` | one admission per ticket; a scan that is sent again; an undo of one admission |
//! | `lost_scans` | however many answers are lost, whoever holds a live ticket is admitted once |
//! | `by_hand` | tickets that admins cancel and reinstate |
//! | `forgetting` | who is forgotten stays so, whoever writes, and their tickets admit |
//! | `upkeep` | failures, products, connections, purge |
//! | `privileges` | what the anonymous key can do: nothing; what the server can do: all that it needs |
//! | `limits` | what a project cuts off: statements of more than 8 s, rows above a thousand |
//! | `through_postgrest` | many writers on the same orders, through PostgREST: no deadlock, no duplicate |
//! | `interleavings` | what each lock is for |
//! | `histories` | random histories against a model |
//!
//! `TEST_DATABASE_URL` names a server on which the tests may create databases and roles, `TEST_POSTGREST` the PostgREST
//! program.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod adoption;
mod budget;
mod by_hand;
mod catalogues;
mod clock;
mod dispatch;
mod forgetting;
mod gate;
mod growth;
mod harness;
mod histories;
mod identity;
mod imposters;
mod indexes;
mod interleavings;
mod limiter;
mod limiter_bounds;
mod limiter_model;
mod limits;
mod listing;
mod lost_scans;
mod migrating;
mod migrations;
mod million;
mod notices;
mod order_history;
mod orders;
mod outlook;
mod postgrest;
mod privileges;
mod projects;
mod publications;
mod reconciling;
mod refunds;
mod reports;
mod runs;
mod system;
mod through_postgrest;
mod unreadable;
mod upkeep;
mod upserts;
