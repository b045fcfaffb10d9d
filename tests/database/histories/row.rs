//! What the order's row should be: the rules for reads, told without looking at how the database does it.

use std::collections::BTreeMap;

use super::ghl::{Line, Payment, Read};

/// All that a price or an item may be called, but for the default.
const NAMES: [&str; 7] = ["VIP", "Gold", "Regular", "Late", "Later", "late ", "Gala"];

/// Seconds after which even an older updatedAt is believed.
pub(super) const PATIENCE: u32 = 15 * 60;

#[derive(Debug, Default)]
pub(super) struct Row {
    /// None: no such row.
    stored: Option<Stored>,
    /// The last read that was applied left something unclear, or had an item without a price id that was taken for a line with one.
    pub(super) is_unclear: bool,
    /// Tickets of the original app that no line has.
    pub(super) has_original_tickets: bool,
}

#[derive(Debug, Default)]
struct Stored {
    /// None: a row of the original app, not fetched yet.
    version: Option<Version>,
    /// None: never read.
    lines: Option<Vec<Line>>,
    /// What the original app counted for each label.
    original_quantities: BTreeMap<&'static str, u32>,
}

#[derive(Debug)]
struct Version {
    stamp: Option<u32>,
    /// The newest read that became or agreed with this row.
    read_at: u32,
    payment: Payment,
}

enum Age {
    Newer,
    Overruling,
    Stale,
}

impl Row {
    pub(super) fn of_the_original_app(original_quantities: BTreeMap<&'static str, u32>) -> Self {
        Self { stored: Some(Stored { original_quantities, ..Stored::default() }), ..Self::default() }
    }

    /// None while nothing is known about them.
    pub(super) fn lines(&self) -> Option<&[Line]> {
        self.stored.as_ref()?.lines.as_deref()
    }

    /// Tickets that a line of the row gives.
    pub(super) fn entitled(&self, line: &Line) -> u32 {
        let version = self.stored.as_ref().and_then(|stored| stored.version.as_ref());
        let paid = version.is_some_and(|version| version.payment == Payment::Paid);
        if paid { line.quantity.unwrap_or(0) } else { 0 }
    }

    /// Whether it tells just what this read does.
    pub(super) fn is_as_in(&self, read: &Read) -> bool {
        let version = self.stored.as_ref().and_then(|stored| stored.version.as_ref());
        self.lines() == Some(&read.lines) && version.is_some_and(|version| version.payment == read.payment)
    }

    /// Whether its lines are just these, and their labels.
    pub(super) fn knows(&self, lines: &[Line]) -> bool {
        let sorted = |lines: &[Line]| {
            let lines = lines.iter().filter(|line| line.quantity != Some(0));
            let mut lines: Vec<_> = lines.map(|line| (line.product, line.price, line.label, line.quantity)).collect();
            lines.sort_unstable();
            lines
        };
        self.lines().is_some_and(|ours| sorted(ours) == sorted(lines))
    }

    /// Whether its lines are these, as far as it knows their ids.
    pub(super) fn agrees_with(&self, lines: &[Line]) -> bool {
        let Some(ours) = self.lines() else { return false };
        let of_product = |lines: &[Line], product| -> u32 {
            lines.iter().filter(|line| line.product == product).filter_map(|line| line.quantity).sum()
        };
        let same = |line: &Line| {
            line.price.is_empty()
                || line.product.is_empty()
                || lines.iter().any(|it| it.key() == line.key() && it.quantity == line.quantity)
        };
        ours.iter().filter(|line| line.quantity != Some(0)).all(same)
            && ours.iter().all(|line| !line.product.is_empty())
            && ["p1", "p2"].into_iter().all(|product| of_product(ours, product) == of_product(lines, product))
            && self
                .stored
                .as_ref()
                .and_then(|stored| stored.version.as_ref())
                .is_some_and(|it| it.payment == Payment::Paid)
    }

    /// Takes the read in. Says what the upsert must answer: its result and the codes of its issues.
    pub(super) fn upsert(&mut self, read: &Read) -> (&'static str, Vec<&'static str>) {
        if !read.valid && (read.remember_only || self.stored.is_none()) {
            return ("skipped", Vec::new());
        }
        if read.remember_only {
            return ("unchanged", Vec::new());
        }
        let is_new = self.stored.is_none();
        let has_original_tickets = self.has_original_tickets;
        let stored = self.stored.get_or_insert_default();
        let mut issues = Vec::new();
        let age = stored.age(read);
        let read_at = match (&age, &stored.version) {
            (Age::Stale, _) => return ("stale", issues),
            (_, None) => read.at,
            (_, Some(version)) => version.read_at.max(read.at),
        };
        let stays_paid = !is_new && stored.stays_paid(read);
        let payment = if stays_paid { Payment::Paid } else { read.payment };
        let is_paid = payment == Payment::Paid;
        let partners = stored.partners(&read.lines);
        let before = stored.lines.clone().unwrap_or_default();
        let mut pairs = read.lines.iter().zip(partners).filter_map(|(item, place)| Some((item, before.get(place?)?)));
        let is_taken_for_another = pairs.any(|(item, line)| item.price.is_empty() && !line.price.is_empty());
        let lines = if !is_new && stored.keeps_lines(read, is_paid) {
            issues.extend(is_paid.then_some("lines_unreadable"));
            stored.lines.clone()
        } else if !is_new && has_original_tickets && stored.waits_for_names(read) {
            issues.extend(is_paid.then_some("original_tickets_unclear"));
            if is_paid { stored.lines.clone() } else { Some(Vec::new()) }
        } else {
            let (lines, unclear) = stored.matched_lines(read);
            issues.extend(unclear.then_some("lines_unclear"));
            Some(lines)
        };
        issues.extend(stays_paid.then_some("status_unclear"));
        let stamp = read.stamp.or(stored.version.as_ref().and_then(|version| version.stamp));
        let is_same = |version: &Version| (version.stamp, version.payment) == (stamp, payment);
        let unchanged = stored.version.as_ref().is_some_and(is_same) && stored.lines == lines;
        if matches!(age, Age::Overruling) && (read.stamp.is_some() || !unchanged) {
            issues.push("older_version_applied");
        }
        stored.version = Some(Version { stamp, read_at, payment });
        stored.lines = lines;
        self.is_unclear = issues.contains(&"lines_unclear") || is_taken_for_another;
        (if unchanged { "unchanged" } else { "written" }, issues)
    }
}

impl Stored {
    fn age(&self, read: &Read) -> Age {
        let Some(version) = &self.version else { return Age::Newer };
        let newer = match (read.stamp, version.stamp) {
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (ours, theirs) => ours > theirs || ours == theirs && read.at >= version.read_at,
        };
        if newer {
            Age::Newer
        } else if read.stamp < version.stamp && read.at > version.read_at + PATIENCE {
            Age::Overruling
        } else {
            Age::Stale
        }
    }

    /// What nobody knows changes nothing about an order that was paid, unless an admin insists.
    fn stays_paid(&self, read: &Read) -> bool {
        let was_paid = self.version.as_ref().is_none_or(|version| version.payment == Payment::Paid);
        read.payment == Payment::Unknown && was_paid && !read.force
    }

    /// Nobody's tickets vanish because something couldn't be read, unless an admin insists.
    fn keeps_lines(&self, read: &Read, is_paid: bool) -> bool {
        let has_something_to_keep = match &self.lines {
            None => is_paid,
            Some(lines) => !lines.is_empty(),
        };
        !read.force && read.lines.is_empty() && has_something_to_keep
    }

    /// Only a label tells whose the tickets of the original app are.
    fn waits_for_names(&self, read: &Read) -> bool {
        !read.force && self.lines.as_ref().is_none_or(Vec::is_empty) && read.lines.iter().any(|line| !line.named)
    }

    /// The stored line that each item is, None if it is none of them.
    fn partners(&self, items: &[Line]) -> Vec<Option<usize>> {
        let stored = self.lines.as_deref().unwrap_or_default();
        let mut partner: Vec<Option<usize>> = vec![None; items.len()];
        let only = |mut found: Vec<usize>| if found.len() == 1 { found.pop() } else { None };
        let find = |wanted: &dyn Fn(&Line) -> bool| -> Vec<usize> {
            (0..stored.len()).filter(|place| wanted(&stored[*place])).collect()
        };
        for (item, partner) in items.iter().zip(&mut partner) {
            if item.price.is_empty() {
                continue;
            }
            *partner = only(find(&|line| {
                line.price == item.price && (item.product.is_empty() || line.product == item.product)
            }));
        }
        let taken = |partner: &[Option<usize>], place| partner.contains(&Some(place));
        let by_ids = partner.clone();
        for name in NAMES.into_iter().chain(["General"]) {
            let is_new = |place: &usize| {
                let item = &items[*place];
                by_ids[*place].is_none() && item.label == name && !item.price.is_empty() && !item.product.is_empty()
            };
            let pairs: Vec<_> = (0..items.len())
                .filter(is_new)
                .flat_map(|item| {
                    let may_be = find(&|line| {
                        line.label == name && line.price.is_empty() && may_be_same(items[item].product, line.product)
                    });
                    may_be.into_iter().map(move |line| (item, line))
                })
                .collect();
            if let [(item, line)] = pairs.as_slice() {
                partner[*item] = Some(*line);
            }
        }
        let by_ids = partner.clone();
        for (item, partner) in items.iter().zip(&mut partner) {
            let alike = items.iter().filter(|other| other.key() == item.key()).count();
            let is_there = |line: &Line| items.iter().any(|other| other.key() == line.key());
            let other = |line: &Line| {
                !line.price.is_empty()
                    || item.product.is_empty() && !line.product.is_empty()
                    || alike > 1 && line.label != item.label && !is_there(line)
            };
            let may_be_another = find(&|line| may_be_same(item.product, line.product) && other(line));
            let is_clear = item.named || may_be_another.into_iter().all(|place| taken(&by_ids, place));
            if item.price.is_empty() && is_clear {
                let same =
                    |line: &Line| line.price.is_empty() && line.product == item.product && line.label == item.label;
                *partner = only(find(&same)).filter(|place| !taken(&by_ids, *place));
            }
        }
        let left = |partner: &[Option<usize>], wanted: &dyn Fn(&Line) -> bool| -> Vec<usize> {
            (0..items.len()).filter(|place| partner[*place].is_none() && wanted(&items[*place])).collect()
        };
        for (product, lost) in [("p1", true), ("p2", true), ("p1", false), ("p2", false)] {
            let of_product = left(&partner, &|item| item.product == product && item.price.is_empty() == lost);
            let mut lines = find(&|line| line.product == product && (lost || line.price.is_empty()));
            lines.retain(|place| !taken(&partner, *place));
            if let ([item], [line]) = (of_product.as_slice(), lines.as_slice()) {
                partner[*item] = Some(*line);
            }
        }
        let before = partner.clone();
        for name in NAMES {
            let pairs: Vec<_> = left(&before, &|item| item.label == name && item.price.is_empty())
                .into_iter()
                .flat_map(|item| {
                    let lines = find(&|line| line.label == name && may_be_same(items[item].product, line.product));
                    lines.into_iter().map(move |line| (item, line))
                })
                .filter(|(_, line)| !taken(&before, *line))
                .collect();
            if let [(item, line)] = pairs.as_slice()
                && (items[*item].product.is_empty()
                    || stored[*line].product.is_empty() && stored[*line].price.is_empty())
            {
                partner[*item] = Some(*line);
            }
        }
        partner
    }

    /// The lines that a read makes of the stored ones, and whether some stay because nobody knows what became of them.
    fn matched_lines(&self, read: &Read) -> (Vec<Line>, bool) {
        let stored = self.lines.as_deref().unwrap_or_default();
        let partner = self.partners(&read.lines);
        let mut lines: Vec<Line> = Vec::new();
        let mut kept: Vec<usize> = Vec::new();
        let mut done: Vec<usize> = Vec::new();
        // Lines that are none of the items for certain, and that some item without its ids may be.
        let lost = |place: &usize| {
            let item = &read.lines[*place];
            partner[*place].is_none() && (item.product.is_empty() || item.price.is_empty())
        };
        let unclear: Vec<usize> = (0..stored.len())
            .filter(|place| !read.force && !partner.contains(&Some(*place)))
            .filter(|place| {
                (0..read.lines.len()).filter(lost).any(|item| may_be_line(&read.lines[item], &stored[*place]))
            })
            .collect();
        for (position, item) in read.lines.iter().enumerate() {
            if done.contains(&position) {
                continue;
            }
            let known = partner[position].map(|place| &stored[place]);
            let may_be: Vec<usize> =
                unclear.iter().copied().filter(|place| may_be_line(item, &stored[*place])).collect();
            if known.is_none() && !may_be.is_empty() {
                kept.extend(may_be);
                continue;
            }
            let together: Vec<usize> = (position..read.lines.len())
                .filter(|other| match known {
                    Some(_) => partner[*other] == partner[position],
                    None => partner[*other].is_none() && read.lines[*other].key() == item.key(),
                })
                .collect();
            let items: Vec<&Line> = together.iter().map(|place| &read.lines[*place]).collect();
            let sum: u32 = items.iter().filter_map(|item| item.quantity).sum();
            let quantity = match items.iter().all(|item| item.quantity.is_some()) || read.force {
                true => sum,
                false => match (known, &self.lines) {
                    (Some(line), _) => line.quantity.unwrap_or(0),
                    (None, None) => self.original_quantities.get(item.label).copied().unwrap_or(0),
                    (None, Some(_)) => 0,
                },
            };
            let named = items.iter().find(|item| item.named).map(|item| item.label);
            lines.push(match known {
                Some(line) => Line {
                    product: if line.product.is_empty() {
                        items.iter().map(|item| item.product).max().unwrap_or("")
                    } else {
                        line.product
                    },
                    price: if line.price.is_empty() {
                        items.iter().map(|item| item.price).max().unwrap_or("")
                    } else {
                        line.price
                    },
                    label: named.unwrap_or(line.label),
                    quantity: Some(quantity),
                    named: true,
                },
                None => Line { quantity: Some(quantity), named: true, ..item.clone() },
            });
            done.extend(together);
        }
        kept.sort_unstable();
        kept.dedup();
        let unclear = !kept.is_empty();
        lines.extend(kept.into_iter().map(|place| stored[place].clone()));
        (lines, unclear)
    }
}

fn may_be_line(item: &Line, line: &Line) -> bool {
    may_be_same(item.product, line.product) && may_be_same(item.price, line.price)
}

fn may_be_same(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}
