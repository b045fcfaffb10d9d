//! What was counted, as documents of CloudWatch's embedded metric format: CloudWatch reads metrics out of log lines.
//!
//! A document's dimensions have one value each, so calls with two statuses need two documents. Whatever can share one
//! does: most invocations print one line.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::metrics::{Counted, Numbers};

const NAMESPACE: &str = "ghl-sync";
/// The most values of one metric in a document that CloudWatch accepts.
const MAX_VALUES: usize = 100;

/// One line each; none if nothing was counted.
pub(crate) fn documents(counted: &Counted, now_ms: u64, location_id: &str, request_id: &str) -> Vec<Value> {
    let mut drafts: Vec<Draft> = Vec::new();
    for ((metric, values_of_dimensions), numbers) in counted {
        let dimensions: Vec<_> = metric.dimensions().iter().copied().zip(values_of_dimensions).collect();
        for number in metric_values(numbers) {
            let name = format!("{metric:?}");
            let definition = json!({ "Name": name, "Unit": metric.unit() });
            let at = drafts.iter().position(|draft| draft.has_room(&name, &dimensions)).unwrap_or_else(|| {
                drafts.push(Draft::default());
                drafts.len() - 1
            });
            if let Some(draft) = drafts.get_mut(at) {
                draft.members.extend(dimensions.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
                draft.members.insert(name, number);
                draft.definitions.entry(metric.dimensions()).or_default().push(definition);
            }
        }
    }
    drafts.into_iter().map(|draft| draft.document(now_ms, location_id, request_id)).collect()
}

/// A metric's numbers as JSON: a count, or lists of values.
fn metric_values(numbers: &Numbers) -> Vec<Value> {
    let count = (numbers.count > 0).then(|| json!(numbers.count));
    count.into_iter().chain(numbers.values.chunks(MAX_VALUES).map(|values| json!(values))).collect()
}

#[derive(Default)]
struct Draft {
    /// The document's members: numbers by metric, values by dimension.
    members: Map<String, Value>,
    /// By the dimensions beside the location.
    definitions: BTreeMap<&'static [&'static str], Vec<Value>>,
}

impl Draft {
    fn has_room(&self, name: &str, dimensions: &[(&str, &String)]) -> bool {
        let fits = |(key, value): &(&str, &String)| self.members.get(*key).is_none_or(|there| there == value.as_str());
        !self.members.contains_key(name) && dimensions.iter().all(fits)
    }

    fn document(self, now_ms: u64, location_id: &str, request_id: &str) -> Value {
        let directive = |(dimensions, metrics): (&'static [&'static str], Vec<Value>)| {
            let mut sets = vec![vec!["LocationId"]];
            if !dimensions.is_empty() {
                sets.push([&["LocationId"], dimensions].concat());
            }
            json!({ "Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics })
        };
        let directives: Vec<_> = self.definitions.into_iter().map(directive).collect();
        let mut document = self.members;
        document.insert("_aws".to_owned(), json!({ "Timestamp": now_ms, "CloudWatchMetrics": directives }));
        document.insert("LocationId".to_owned(), json!(location_id));
        document.insert("request_id".to_owned(), json!(request_id));
        document.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Collector, Metric, count, count_by, value, value_by};

    async fn documents_of(counting: impl Future<Output = ()>) -> Vec<Value> {
        let collector = Collector::default();
        collector.scope(counting).await;
        documents(&collector.take(), 1_800_000_000_000, "loc", "r-1")
    }

    #[tokio::test]
    async fn what_can_share_a_document_does() {
        let documents = documents_of(async {
            count(Metric::OrdersSynced, 3);
            count(Metric::OrdersSynced, 2);
            count(Metric::OrdersUnchanged, 1);
            count_by(Metric::GhlCalls, &["200"], 5);
            value(Metric::LimiterWaitMs, 12.5);
            value(Metric::LimiterWaitMs, 40.0);
            value_by(Metric::RunSeconds, &["full", "Completed"], 75.25);
        })
        .await;
        let expected = json!({
            "_aws": {
                "Timestamp": 1_800_000_000_000_u64,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "ghl-sync",
                        "Dimensions": [["LocationId"]],
                        "Metrics": [
                            {"Name": "OrdersSynced", "Unit": "Count"},
                            {"Name": "OrdersUnchanged", "Unit": "Count"},
                            {"Name": "LimiterWaitMs", "Unit": "Milliseconds"},
                        ],
                    },
                    {
                        "Namespace": "ghl-sync",
                        "Dimensions": [["LocationId"], ["LocationId", "Kind", "State"]],
                        "Metrics": [{"Name": "RunSeconds", "Unit": "Seconds"}],
                    },
                    {
                        "Namespace": "ghl-sync",
                        "Dimensions": [["LocationId"], ["LocationId", "Status"]],
                        "Metrics": [{"Name": "GhlCalls", "Unit": "Count"}],
                    },
                ],
            },
            "LocationId": "loc", "Kind": "full", "State": "Completed", "Status": "200", "request_id": "r-1",
            "OrdersSynced": 5, "OrdersUnchanged": 1, "GhlCalls": 5, "LimiterWaitMs": [12.5, 40.0], "RunSeconds": [75.25],
        });
        assert_eq!(documents, [expected]);
    }

    #[tokio::test]
    async fn a_second_value_of_a_dimension_needs_a_second_document() {
        let documents = documents_of(async {
            count(Metric::GhlThrottled, 1);
            count_by(Metric::GhlCalls, &["429"], 1);
            count_by(Metric::GhlCalls, &["200"], 8);
            value_by(Metric::OldestMessageSeconds, &[""], 0.5);
        })
        .await;
        let found: Vec<_> = documents
            .iter()
            .map(|document| (&document["Status"], &document["GhlCalls"], &document["GhlThrottled"]))
            .collect();
        let none = Value::Null;
        assert_eq!(found, [(&json!("200"), &json!(8), &json!(1)), (&json!("429"), &json!(1), &none)]);
        assert_eq!(documents[0]["Queue"], "unknown", "CloudWatch takes no empty value");
    }

    #[tokio::test]
    async fn no_metric_has_over_a_hundred_values_in_a_document() {
        let documents =
            documents_of(async { (0..250_u32).for_each(|ms| value(Metric::LimiterWaitMs, f64::from(ms))) }).await;
        let values: Vec<_> =
            documents.iter().map(|document| document["LimiterWaitMs"].as_array().unwrap().len()).collect();
        assert_eq!(values, [100, 100, 50]);
    }

    #[tokio::test]
    async fn nothing_counted_prints_nothing() {
        assert!(documents_of(async {}).await.is_empty());
    }
}
