//! A GoHighLevel (GHL) that runs on one machine: what ghl-sync is developed, shown and tested against.
//!
//! Served as GHL serves them: `GET /payments/orders`, `/payments/orders/{id}`, `/payments/transactions`, `/products/`
//! and `/products/{id}/price`, with GHL's checks (bearer token, `Version`, `altId`), filters, paging, rate limit with
//! its five headers, error bodies and webhooks. The data is invented, and always the same for a seed: N ordinary
//! orders entitling to exactly 3 x N tickets, and [a dozen odd ones](odd) entitling to 12 more.
//!
//! # Steering it
//!
//! All under `/_control`, JSON in and out, no token:
//!
//! | call | does |
//! |---|---|
//! | `GET health` | `{"status": "ok"}` |
//! | `GET counters`, `DELETE counters` | calls by endpoint (`requests`), answers by `status` (`reset` for cut connections), detail calls by order (`perOrder`) |
//! | `GET orders` | `orders` (ids of ordinary ones), `all`, `valid` (ours, with a listed product), `odd` (name -> id), `expectedTickets` over all, `ordinaryTickets` |
//! | `GET orders/{id}` | the order as it is kept; `_fake` holds what GHL wouldn't show |
//! | `PUT orders/{id}` | JSON merge patch; makes a plain valid order first if there is none; a change moves `updatedAt` on unless `?keepUpdatedAt=true`; nulls are written instead of removing with `?keepNulls=true`; `{"_fake": {"nested": true, "amountRefunded": 5.5}}` wraps it in `{"order": {}}` and shows a partial refund in its transaction; `{"_fake": {"row": {"updatedAt": null}}}` (with `?keepNulls=true`) is a merge patch of its row in lists |
//! | `PUT orders/{id}?item=0` | the same for one of its items: `{"price": null}` takes that away, `{"price": {"_id": null}}` only its id |
//! | `DELETE orders/{id}` | forgets it |
//! | `GET orders/{id}/expected` | `valid`, `entitled`, `tickets`, `ticketQuantities` a right sync ends with |
//! | `GET products`, `PUT products/{id}` | `{"listed": false}` delists; an unknown id adds one |
//! | `POST faults`, `GET faults`, `DELETE faults` | see [`Rule`] and [`Fault`] |
//! | `GET settings`, `PATCH settings` | see [`FakeSettings`]: limit, latency, rows that are left out of a page without a word (`rowCap`), what rows lack or have (`rowPatch`, `rowFields`), and the variants sources on GHL disagree about |
//! | `POST webhooks` | `{"kind": "signed"\|"workflow", "orderId", "orderIds"?, "type"?, "signature"?: "good"\|"bad"\|"absent"\|"na"\|"reserialized", "timestamp"?, "bare"?, "body"?, "url"?}`, answers `{"status", "body", "retryAfter"}` |
//! | `GET people` | every name, e-mail address and phone number that was shown to anybody since the start |
//! | `GET webhook-key` | `publicKey` (SPKI) and `privateKey` (PKCS#8), base64 |
//! | `POST reset` | `{"orders"?, "seed"?}`: everything as at the start |
//!
//! One order that can't be read for good, while all others can:
//! `POST faults` with `{"endpoint": "detail", "orderId": "...", "fault": {"kind": "status", "status": 403}}`. Without `times` a fault stays
//! until `DELETE faults`.
//!
//! # Reading the code
//!
//! [`random`] is where all data comes from; [`catalogue`], [`ordinary`] and [`odd`] make it, [`store`] keeps what was
//! changed, [`filter`] and [`row`] make lists of it, [`expected`] judges it, [`people`] remembers whose data was shown. A call goes through [`gateway`] ([`rate`],
//! [`fault`], [`connection`]) to [`api`]; tests go to [`control`] and [`webhook`]. Every handler sees the
//! [`world`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
#![allow(rustdoc::private_intra_doc_links)]

mod api;
mod catalogue;
mod clock;
mod connection;
mod control;
mod desk;
mod error;
mod expected;
mod fault;
mod filter;
mod gateway;
mod id;
mod odd;
mod options;
mod ordinary;
mod patch;
mod people;
mod random;
mod rate;
mod refused;
mod row;
mod server;
mod settings;
mod signing;
mod store;
mod webhook;
mod world;

pub use crate::{
    expected::Expected,
    fault::{Endpoint, Fault, Rule},
    id::Id,
    options::Options,
    server::FakeGhl,
    settings::{FakeSettings, RetryAfter},
    signing::WebhookKey,
};
