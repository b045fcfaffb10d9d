//! What needs attention: by its reason, with what to do, and usable if there is a lot of it.

use serde_json::json;

use crate::{
    page::{A_MOMENT, Page},
    stage::{completed, failures, on_stage, runs},
};

const GROUP: &str = "#failures-list > li[data-code='order_not_found']";

async fn rows(page: &Page) -> usize {
    page.texts("#failures-list code").await.len()
}

#[tokio::test]
async fn a_thousand_failures_are_a_few_groups_that_open() {
    let staged =
        json!({ "status": completed(json!({ "failedOrders": 1300 })), "failures": failures(1300), "runs": runs(3) });
    on_stage(staged, async |page| {
        let groups = async || page.texts("#failures-list > li summary").await;
        page.until("they are grouped", A_MOMENT, async || groups().await.len() == 3).await;
        let found = groups().await;
        assert!(found[0].starts_with("GoHighLevel couldn't be reached334"), "{found:?}");
        assert!(
            found[1].starts_with("GoHighLevel doesn't know these orders333Check whether they were deleted there."),
            "{found:?}"
        );
        assert!(
            found[2].starts_with("Other reasons333") && found[2].contains("Retry once"),
            "unknown codes come last: {found:?}"
        );
        assert_eq!(page.text("failures-badge").await, "1,000+");
        assert_eq!(rows(page).await, 0, "what isn't open costs nothing");
        page.screenshots("many-failures").await;

        page.press(&format!("{GROUP} summary")).await;
        page.until("its first rows are made", A_MOMENT, async || rows(page).await == 25).await;
        assert!(
            page.texts(&format!("{GROUP} details > p")).await.contains(&"Why order_not_found".to_owned()),
            "said once"
        );
        page.press(&format!("{GROUP} details > button")).await;
        page.until("more of them", A_MOMENT, async || rows(page).await == 50).await;

        page.click("more-failures").await;
        page.until_text("failures-badge", "1,300", A_MOMENT).await;
        assert!(!page.is_shown("more-failures").await);
        assert_eq!(rows(page).await, 50, "what was open stays as it was");
    })
    .await;
}

#[tokio::test]
async fn an_order_is_opened_in_ghl_copied_and_retried_from_its_row() {
    let staged = json!({
        "status": completed(json!({ "failedOrders": 2 })), "failures": failures(2),
        "config": { "ghlOrderUrl": "https://app.example.com/location/{locationId}/orders/{orderId}", "locationId": "location1" },
        "answers": { "POST ghl/orders/Order0000": [200, { "result": "written", "orderId": "Order0000" }] },
    });
    on_stage(staged, async |page| {
        page.until("a few are open at once", A_MOMENT, async || rows(page).await == 2).await;
        let link = page
            .run("const { href, rel, target } = document.querySelector('#failures-list a'); return [href, rel, target]")
            .await;
        assert_eq!(
            link,
            json!(["https://app.example.com/location/location1/orders/Order0000", "noreferrer", "_blank"])
        );

        page.run("navigator.clipboard.writeText = async (text) => { window.copied = text }").await;
        page.press("[aria-label='Copy id of order Order0000']").await;
        page.until("it is copied", A_MOMENT, async || page.holds("window.copied === 'Order0000'").await).await;
        page.until_text("announcer", "Copied Order0000", A_MOMENT).await;

        page.run("staged.failures = staged.failures.slice(1)").await;
        page.press("[aria-label='Retry order Order0000']").await;
        page.until_text("notice", "Order Order0000 is in step.", A_MOMENT).await;
        page.until("its row is gone", A_MOMENT, async || rows(page).await == 1).await;
        assert_eq!(page.focused().await, "failures-title", "the place on the keyboard isn't lost");
    })
    .await;
}

#[tokio::test]
async fn without_an_address_there_is_no_link() {
    for address in [json!(null), json!("javascript:alert(1)//{orderId}"), json!("http://plain.example.com/{orderId}")] {
        let staged = json!({
            "status": completed(json!({ "failedOrders": 1 })), "failures": failures(1), "config": { "ghlOrderUrl": address },
        });
        on_stage(staged, async |page| {
            page.until("it is shown", A_MOMENT, async || rows(page).await == 1).await;
            assert_eq!(page.run("return document.querySelectorAll('main a').length").await, json!(0));
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_noticed_stands_beside_what_failed() {
    let issues = json!([
        { "orderId": null, "code": "orders_not_listed", "message": "2 stored orders aren't in the list." },
        { "orderId": "Order0007", "code": "partial_refund", "message": "10 of 30 were refunded." },
    ]);
    on_stage(json!({ "status": completed(json!({})), "issues": issues }), async |page| {
        page.until_text("issues-title", "Noticed in the last run (2)", A_MOMENT).await;
        let told = page.texts("#issues-list > li").await.join(" ");
        for words in [
            "Look them up there",
            "2 stored orders aren't in the list.",
            "All tickets stay.",
            "Order0007",
            "10 of 30 were refunded.",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert_eq!(page.text("no-failures").await, "Nothing failed.");
        assert!(!page.is_shown("failures-badge").await);
    })
    .await;
}

#[tokio::test]
async fn what_was_not_attempted_has_not_failed() {
    let left = |at: usize| json!({ "orderId": format!("Left{at}"), "code": "not_attempted", "class": "transient", "resolvedAt": null });
    let mut listed: Vec<_> = (0..98).map(left).collect();
    listed.extend(failures(1).as_array().unwrap().clone());
    let status =
        completed(json!({ "status": "Cancelled", "syncedOrders": 0, "failedOrders": 1, "notAttemptedOrders": 158 }));
    on_stage(json!({ "status": status, "failures": listed }), async |page| {
        page.until_text("failures-badge", "1", A_MOMENT).await;
        assert_eq!(page.texts("#failures-list code").await, ["Order0000"]);
        assert!(!page.is_shown("retry-all").await);
        assert!(page.is_shown("sync-rest").await);
        assert_eq!(page.text("rate").await, "–", "a run that was broken off has no speed");
    })
    .await;
}

/// A run that was broken off has looked at few orders; what failed before still does.
#[tokio::test]
async fn failures_of_earlier_runs_stay_until_a_run_has_gone_through_all_orders() {
    let mut listed = runs(3);
    let changes = [
        json!({ "status": "Error", "failedOrders": 0 }),
        json!({ "status": "Completed", "kind": "retry", "failedOrders": 0 }),
        json!({ "status": "Completed", "failedOrders": 2 }),
    ];
    for (run, change) in listed.as_array_mut().unwrap().iter_mut().zip(changes) {
        run.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    }
    let broken_off = completed(json!({ "status": "Error", "syncedOrders": 0, "error": "No valid products found" }));
    on_stage(json!({ "status": broken_off, "runs": listed, "failures": failures(2) }), async |page| {
        page.until("they are listed", A_MOMENT, async || rows(page).await == 2).await;
        let calls = page.calls().await;
        let read = |run: usize| {
            let path = format!("GET qrapp/runs/0a0a0a0a-0000-4000-8000-{run:012}");
            calls.iter().any(|call| call["call"] == path.as_str())
        };
        assert!(read(3), "{calls:?}");

        // A later one that went through all of them has the last word.
        page.run(
            "staged.runs[0].status = 'Completed'; staged.runs[0].endTime = '2026-11-29T11:00:00.000Z'; stage.lookUp()",
        )
        .await;
        page.until_text("no-failures", "Nothing failed.", A_MOMENT).await;
    })
    .await;
}

#[tokio::test]
async fn a_message_that_named_no_order_is_no_order() {
    let unread = |id: &str| {
        json!({
            "orderId": id, "class": "permanent", "code": "unreadable_message", "reason": format!("No JSON in {id}"), "attempts": 5,
            "lastTryAt": "2026-11-29T10:00:10.000Z", "resolvedAt": null,
        })
    };
    let unread = json!([unread("message-1"), unread("message-2")]);
    on_stage(json!({ "status": completed(json!({})), "outside": unread }), async |page| {
        page.until_text("failures-badge", "2", A_MOMENT).await;
        assert_eq!(page.texts("#failures-list .why").await.len(), 2);
        assert!(!page.is_shown("retry-all").await);
        assert_eq!(page.texts("#failures-list a, #failures-list button:not([hidden])").await, [""; 0]);
        assert_eq!(rows(page).await, 0, "its id is nobody's");
    })
    .await;
}
