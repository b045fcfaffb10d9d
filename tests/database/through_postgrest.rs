//! Everybody at once on the same orders, through a real PostgREST: no deadlock reaches a caller, no ticket is doubled
//! or lost, the promise holds.
//!
//! | module | what it is for |
//! |---|---|
//! | `evening` | the orders of the moment, what GHL shows of them, what callers were told |
//! | `writer` | what the functions do with the database, call by call |
//! | `people` | the gate, the original app's scanner, a person in the table editor |
//! | `afterwards` | what must hold when all have gone home |

mod afterwards;
mod evening;
mod people;
mod writer;

use std::sync::Arc;
use std::time::Instant;

use domain::FailureClass;
use evening::Evening;
use people::Tables;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use writer::Writer;

use crate::harness::TestDatabase;
use crate::postgrest::PostgRest;

/// What a writer does, turn by turn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Webhook,
    Single,
    Run,
    Tickets,
    Failures,
    Watch,
    Gate,
    Scanner,
    Person,
}

/// How many writers have each role: 32 in all.
const ROLES: [(Role, usize); 9] = [
    (Role::Webhook, 6),
    (Role::Single, 3),
    (Role::Run, 9),
    (Role::Tickets, 4),
    (Role::Failures, 2),
    (Role::Watch, 1),
    (Role::Gate, 3),
    (Role::Scanner, 3),
    (Role::Person, 1),
];
const TURNS: usize = 5000;
/// How often SQS delivers a message (`maxReceiveCount`).
const DELIVERIES: u32 = 5;

impl Role {
    /// Whether its work is done again after this failure: by a queue after each that passes, by a person who was told that
    /// the database is busy only then. A deadlock never reaches a person.
    fn does_again(self, trouble: &Trouble) -> bool {
        match self {
            Self::Webhook | Self::Run | Self::Tickets | Self::Failures => trouble.transient,
            Self::Single | Self::Watch | Self::Gate | Self::Scanner | Self::Person => trouble.took_too_long(),
        }
    }
}

/// A failed call, in the words of whoever made it.
struct Trouble {
    what: String,
    transient: bool,
}

impl Trouble {
    /// Whether a lock or a statement took longer than it may, as happens to 32 writers of eight orders on a slow machine.
    fn took_too_long(&self) -> bool {
        ["55P03", "57014"].iter().any(|sqlstate| self.what.contains(sqlstate))
    }
}

impl From<database::Error> for Trouble {
    fn from(error: database::Error) -> Self {
        Self { what: error.to_string(), transient: error.class() == FailureClass::Transient }
    }
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self { what, transient: false }
    }
}

async fn turn(role: Role, writer: &mut Writer, tables: &Tables) -> Result<(), Trouble> {
    let evening = Arc::clone(&writer.evening);
    match role {
        Role::Webhook => writer.webhook().await?,
        Role::Single => writer.single().await?,
        Role::Run => writer.pulse().await?,
        Role::Tickets => writer.tickets().await?,
        Role::Failures => writer.failures().await?,
        Role::Watch => writer.watch().await?,
        Role::Gate => {
            if let Some(ticket) = tables.ticket(&evening, &mut writer.random).await? {
                let (database, random) = (&writer.database, &mut writer.random);
                if random.random_ratio(1, 6) {
                    people::decide(database, &evening, ticket, random).await?;
                } else {
                    people::admit(database, &evening, ticket, random).await?;
                }
            }
        }
        Role::Scanner => people::scan(tables, &evening, &mut writer.random).await?,
        Role::Person => people::edit(tables, &evening, &mut writer.random).await?,
    }
    Ok(())
}

/// Takes turns to the end of the evening. What fails is retried as in production, and otherwise not.
async fn work(role: Role, mut writer: Writer, tables: Tables) {
    while writer.evening.goes_on() {
        for delivery in 1..=DELIVERIES {
            let Err(trouble) = turn(role, &mut writer, &tables).await else { break };
            let again = role.does_again(&trouble) && delivery < DELIVERIES;
            writer.evening.hear(|heard| {
                let failed = if again { &mut heard.repeated } else { &mut heard.surfaced };
                *failed.entry(format!("{role:?}: {}", trouble.what)).or_default() += 1;
            });
            if !again {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_writers_on_the_same_orders() {
    let database = TestDatabase::original().await;
    database.execute(afterwards::WATCHED).await;
    let writers: usize = ROLES.iter().map(|(_, writers)| writers).sum();
    let postgrest = PostgRest::start(&database, writers + 4).await;
    let evening = Arc::new(Evening::of(TURNS));
    let begun = Instant::now();
    let mut everybody = JoinSet::new();
    for (number, (role, _)) in ROLES.iter().flat_map(|role| std::iter::repeat_n(role, role.1)).enumerate() {
        let random = StdRng::seed_from_u64(number as u64);
        let writer = Writer { database: postgrest.client(), evening: Arc::clone(&evening), random };
        everybody.spawn(work(*role, writer, Tables::behind(&postgrest)));
    }
    everybody.join_all().await;
    let (calls, took) = (postgrest.calls(), begun.elapsed());
    println!("{TURNS} turns, {calls} calls in {took:?}: {:.0}/s", calls as f64 / took.as_secs_f64());

    let heard = Arc::into_inner(evening).unwrap().into_heard();
    println!("done again: {:#?}", heard.repeated);
    assert!(heard.surfaced.is_empty(), "failures reached a caller: {:#?}", heard.surfaced);
    afterwards::reconcile_what_is_due(&postgrest.client()).await;
    postgrest.stop().await;
    afterwards::assert_no_deadlock(&database).await;
    afterwards::assert_tickets_are_sound(&database, &heard).await;
    afterwards::assert_runs_add_up(&database).await;
    afterwards::assert_newest_version_is_stored(&database, &heard).await;
    afterwards::assert_numbers_are_given_once(&heard);
    afterwards::assert_everything_happened(&database, &heard).await;
}
