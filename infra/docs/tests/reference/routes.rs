use std::collections::BTreeMap;

use docs::{names, table};

use crate::template::Template;

#[test]
fn the_page_has_the_routes_of_the_template_and_says_which_are_open() {
    let deployed: BTreeMap<_, _> =
        Template::read().http_routes().into_iter().map(|route| (route.name, route.open)).collect();
    let documented: BTreeMap<_, _> = docs::routes()
        .into_iter()
        .map(|route| (format!("{} {}", route.method, route.path), !route.is_closed()))
        .collect();
    assert_eq!(documented, deployed);
    assert_eq!(docs::routes().len(), documented.len(), "a route stands there twice");
}

#[test]
fn the_page_has_the_routes_of_the_web_socket() {
    assert_eq!(names(&table("websocket-api.md", "Routes")), Template::read().socket_routes());
}
