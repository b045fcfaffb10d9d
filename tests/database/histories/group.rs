//! Plays histories in lockstep over one connection: in each round every history takes a step, and steps of one kind go to
//! the database in one call, since planning a statement costs far more than one order more in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio_postgres::{Client, Error};

use super::ghl::contact;
use super::history::{History, Step};
use super::tickets::{Seen, Ticket};
use crate::harness::try_call;

/// Why a group stopped: its history of this index, if it can be told, and what was wrong.
pub(super) struct Broken(pub(super) Option<usize>, pub(super) String);

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(None, format!("{error:?}"))
    }
}

pub(super) struct Group {
    server: Client,
    pub(super) histories: Vec<History>,
}

impl Group {
    pub(super) fn new(server: Client, seeds: Range<u64>) -> Self {
        Self { server, histories: seeds.map(History::new).collect() }
    }

    pub(super) fn into_server(self) -> Client {
        self.server
    }

    pub(super) async fn play(&mut self) -> Result<(), Broken> {
        let mut playing: Vec<_> = (0..self.histories.len()).collect();
        while !playing.is_empty() {
            let mut seen = self.look(&playing).await?;
            let mut steps = Vec::new();
            for index in playing {
                let history = &mut self.histories[index];
                let seen = seen.remove(&history.order_id).unwrap_or_default();
                let step = history.next(&seen).map_err(|wrong| Broken(Some(index), format!("{wrong}\n{seen:#?}")))?;
                steps.extend(step.map(|step| (index, step)));
            }
            self.insert(&steps).await?;
            self.update(&steps).await?;
            self.scan(&steps).await?;
            self.forget(&steps).await?;
            let mut to_reconcile = self.upsert(&steps).await?;
            to_reconcile.extend(self.dispatch(&steps).await?);
            to_reconcile
                .extend(of_kind(&steps, |step| matches!(step, Step::Reconcile).then_some(())).map(|(index, ())| index));
            self.reconcile(&to_reconcile).await?;
            playing = steps.into_iter().map(|(index, _)| index).collect();
        }
        Ok(())
    }

    fn id(&self, index: usize) -> &str {
        &self.histories[index].order_id
    }

    async fn look(&self, playing: &[usize]) -> Result<BTreeMap<String, Seen>, Broken> {
        let ids: Vec<_> = playing.iter().map(|index| self.id(*index)).collect();
        let mut seen = BTreeMap::<_, Seen>::new();
        let orders = "select order_id, xmin::text::bigint,
            num_nonnulls(contact_firstname, contact_lastname, contact_email, contact_phone) > 0
            from public.ghl_qr_orders where order_id = any ($1)";
        for row in self.server.query(orders, &[&ids]).await? {
            let seen = seen.entry(row.get(0)).or_default();
            (seen.order_version, seen.tells_buyer) = (Some(row.get(1)), row.get(2));
        }
        let tickets = "select order_id, ticket_id, coalesce(status, ''), ticket_type, xmin::text::bigint, product_id,
            coalesce(price_id, ''), coalesce(ordinal, 0) from public.ghl_qr_tickets where order_id = any ($1) order by 2";
        for row in self.server.query(tickets, &[&ids]).await? {
            let product: Option<_> = row.get(5);
            seen.entry(row.get(0)).or_default().tickets.push(Ticket {
                id: row.get(1),
                status: row.get(2),
                label: row.get(3),
                version: row.get(4),
                identity: product.map(|product| (product, row.get(6), row.get(7))),
            });
        }
        Ok(seen)
    }

    async fn insert(&self, steps: &[(usize, Step)]) -> Result<(), Broken> {
        let (mut orders, mut quantities) = (Vec::new(), Vec::new());
        let (mut order_ids, mut labels, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
        for (index, step) in steps {
            let Step::Insert { order, tickets } = step else { continue };
            if let Some(order) = order {
                orders.push(self.id(*index));
                quantities.push(json!(order));
            }
            for (label, status) in tickets {
                order_ids.push(self.id(*index));
                labels.push(*label);
                statuses.push(*status);
            }
        }
        if !orders.is_empty() {
            let insert = "insert into public.ghl_qr_orders (order_id, ticket_quantities) select * from unnest($1::text[], $2::jsonb[])";
            self.server.execute(insert, &[&orders, &quantities]).await?;
        }
        if !order_ids.is_empty() {
            let insert = "insert into public.ghl_qr_tickets (order_id, ticket_type, status)
                select order_id, label, status
                from unnest($1::text[], $2::text[], $3::text[]) with ordinality as t (order_id, label, status, position)
                order by position";
            self.server.execute(insert, &[&order_ids, &labels, &statuses]).await?;
        }
        Ok(())
    }

    async fn update(&self, steps: &[(usize, Step)]) -> Result<(), Broken> {
        let (mut tickets, mut statuses, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        for (_, step) in steps {
            match step {
                Step::Set { ticket, status } => {
                    tickets.push(*ticket);
                    statuses.push(*status);
                }
                Step::Delete { ticket } => deleted.push(*ticket),
                _ => {}
            }
        }
        if !tickets.is_empty() {
            let update = "update public.ghl_qr_tickets as t set status = n.status
                from unnest($1::int[], $2::text[]) as n (ticket_id, status) where t.ticket_id = n.ticket_id";
            self.server.execute(update, &[&tickets, &statuses]).await?;
        }
        if !deleted.is_empty() {
            let delete = "delete from public.ghl_qr_tickets where ticket_id = any ($1)";
            self.server.execute(delete, &[&deleted]).await?;
        }
        Ok(())
    }

    /// Each order has a buyer of its own.
    async fn forget(&self, steps: &[(usize, Step)]) -> Result<(), Broken> {
        for (index, ()) in of_kind(steps, |step| matches!(step, Step::Forget).then_some(())) {
            let request = json!({"contact_id": contact(self.id(index)), "by": "admin"});
            while try_call(&self.server, "forget_contact", request.clone()).await?["done"] != true {}
        }
        Ok(())
    }

    /// Each scan is a call of its own, as at the gate.
    async fn scan(&mut self, steps: &[(usize, Step)]) -> Result<(), Broken> {
        let scans: Vec<_> = of_kind(steps, |step| match step {
            Step::Scan { function, ticket, scan_id } => Some((*function, *ticket, scan_id.as_deref())),
            _ => None,
        })
        .collect();
        let server = &self.server;
        let calls = scans.iter().map(|(_, (function, ticket, scan_id))| {
            let request = json!({"ticket_id": ticket, "by": "gate", "scan_id": scan_id, "reason": "Because"});
            async move { try_call(server, function, request).await }
        });
        let answers = join_all(calls).await;
        for ((index, (function, ticket, scan_id)), answer) in scans.into_iter().zip(answers) {
            let wrong = |wrong| Broken(Some(index), wrong);
            let answer = answer.map_err(|error| wrong(format!("{function}: {error:?}")))?;
            let history = &mut self.histories[index];
            let told = match function {
                "cancel_ticket" | "reinstate_ticket" => history.done_by_hand(ticket, &answer),
                _ => history.scanned(ticket, scan_id, &answer),
            };
            told.map_err(wrong)?;
        }
        Ok(())
    }

    /// Returns who hands over.
    async fn upsert(&mut self, steps: &[(usize, Step)]) -> Result<Vec<usize>, Broken> {
        let upserts: Vec<_> = of_kind(steps, |step| match step {
            Step::Upsert { read, then_reconcile } => Some((read, *then_reconcile)),
            _ => None,
        })
        .collect();
        let orders: Vec<_> = upserts.iter().map(|(index, (read, _))| read.request(self.id(*index))).collect();
        let answers = self.call_for_orders("upsert_orders", orders).await?;
        for (index, (read, _)) in &upserts {
            let answer = answers.get(self.id(*index)).unwrap_or(&Value::Null);
            self.histories[*index].upserted(read, answer).map_err(|wrong| Broken(Some(*index), wrong))?;
        }
        Ok(upserts.into_iter().filter(|(_, (_, hands_over))| *hands_over).map(|(index, _)| index).collect())
    }

    /// Returns who is due.
    async fn dispatch(&mut self, steps: &[(usize, Step)]) -> Result<Vec<usize>, Broken> {
        let asking: Vec<_> =
            of_kind(steps, |step| matches!(step, Step::Dispatch).then_some(())).map(|(index, ())| index).collect();
        if asking.is_empty() {
            return Ok(asking);
        }
        let ids: Vec<_> = asking.iter().map(|index| self.id(*index)).collect();
        let view = "select order_id, to_jsonb(v) from public.ghl_qr_tickets_out_of_step v where order_id = any ($1)";
        let out_of_step = self.server.query(view, &[&ids]).await?;
        let out_of_step: BTreeMap<String, Value> = out_of_step.iter().map(|row| (row.get(0), row.get(1))).collect();
        let due = try_call(&self.server, "due_orders", json!({"older_than_ms": 0, "limit": 1000})).await?;
        let due: BTreeSet<_> = by_order(due).into_keys().collect();
        let mut to_reconcile = Vec::new();
        for index in asking {
            let history = &mut self.histories[index];
            let is_due = due.contains(&history.order_id);
            history
                .dispatched(is_due, out_of_step.get(&history.order_id))
                .map_err(|wrong| Broken(Some(index), wrong))?;
            to_reconcile.extend(is_due.then_some(index));
        }
        Ok(to_reconcile)
    }

    async fn reconcile(&mut self, indexes: &[usize]) -> Result<(), Broken> {
        let orders = indexes.iter().map(|index| json!({"order_id": self.id(*index)})).collect();
        let answers = self.call_for_orders("reconcile_tickets", orders).await?;
        for index in indexes {
            let history = &mut self.histories[*index];
            history.reconciled(answers.get(&history.order_id));
        }
        Ok(())
    }

    /// One call for all these orders; its answer for each.
    async fn call_for_orders(&self, function: &str, orders: Vec<Value>) -> Result<BTreeMap<String, Value>, Broken> {
        if orders.is_empty() {
            return Ok(BTreeMap::new());
        }
        Ok(by_order(try_call(&self.server, function, json!({"orders": orders})).await?))
    }
}

fn of_kind<'a, T>(
    steps: &'a [(usize, Step)],
    kind: impl Fn(&'a Step) -> Option<T>,
) -> impl Iterator<Item = (usize, T)> {
    steps.iter().filter_map(move |(index, step)| Some((*index, kind(step)?)))
}

fn by_order(answer: Value) -> BTreeMap<String, Value> {
    let orders = answer["orders"].as_array().cloned().unwrap_or_default();
    orders.into_iter().map(|order| (order["order_id"].as_str().unwrap_or_default().to_owned(), order)).collect()
}
