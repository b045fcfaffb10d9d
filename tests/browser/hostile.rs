//! Markup in every text that comes from outside: it is shown as it is, and does nothing.

use serde_json::{Value, json};

use crate::{chrome::with_page, page::A_MOMENT, page::A_RUN, site::Site};

const MARKUP: &str =
    "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=2</script><s>struck</s> & \"quoted\" 'too'";

/// A session whose e-mail address is markup; Supabase's user can choose it.
fn hostile_session(site: &Site) -> String {
    let who = json!({ "sub": "hostile", "email": MARKUP, "user_metadata": { "name": MARKUP } });
    let token = site.token(3600, who);
    format!("{}#access_token={token}&token_type=bearer", site.page_url())
}

#[tokio::test]
async fn markup_is_shown_and_does_nothing() {
    let site = Site::running();
    site.ghl.restart().await;
    let quoted = MARKUP.replace('\'', "''");
    let forget = "delete from public.sync_failures where order_id like 'Hostile%'";
    let failure = format!(
        "{forget}; insert into public.sync_failures
        (location_id, order_id, cause, class, code, reason, attempts)
        values ('{}', 'Hostile1', 'webhook', 'permanent', '{quoted}', '{quoted}', 1)",
        site.location_id
    );
    site.execute(&failure).await;
    let [order_id, ..] = site.some_orders().await;
    let contact = json!({ "firstName": MARKUP, "lastName": MARKUP, "email": MARKUP, "phone": MARKUP });
    site.ghl.put(&order_id, json!({ "contactSnapshot": contact, "currency": MARKUP, "status": MARKUP })).await;

    with_page(&site, &hostile_session(&site), async |page| {
        page.until_ready().await;
        page.click("start-incremental").await;
        page.until_status("Delay", A_RUN).await;
        page.until_text("failures", MARKUP, A_MOMENT).await;
        assert!(page.text("account").await.contains(MARKUP), "the address is shown as it is");

        // What the newest run noticed and why it failed, in its details.
        let run = "(select run_id from public.sync_runs order by started_at desc limit 1)";
        site
            .execute(&format!(
                "insert into public.sync_issues (run_id, order_id, code, message)
                 values ({run}, 'Hostile1', 'hostile', '{quoted}')"
            ))
            .await;
        page.reload().await;
        page.press("#runs > li:first-child summary").await;
        page.until("the issue is shown", A_MOMENT, async || {
            page.texts("#runs section:not([hidden])").await.iter().any(|part| part.contains(MARKUP))
        })
        .await;
        let made = page.run("return document.querySelectorAll('img:not([src$=\"/icon.svg\"]), s, body script:not([src]), iframe').length").await;
        assert_eq!((made, page.run("return window.pwned ?? null").await), (json!(0), Value::Null));
        page.assert_clean_console().await;
    })
    .await;
    site.execute(forget).await;
}
