use std::collections::{BTreeMap, BTreeSet};

use docs::{Row, names, table};

use crate::defaults;
use crate::source::deployed;
use crate::template::{SetTo, Template};

const PAGE: &str = "settings.md";

/// Variables that a function reads, with the defaults that the code has.
type Read = BTreeMap<String, Option<String>>;

/// Whatever has the form of a variable's name is one.
fn is_variable(name: &str) -> bool {
    name.contains('_') && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn read_by_functions() -> Read {
    let (sources, mut read) = (deployed(), Read::new());
    for source in &sources {
        for literal in source.literals().iter().filter(|literal| is_variable(literal.value)) {
            // The call that it stands in: the word before the parenthesis.
            let call = literal.before.rsplit_once('(').map_or("", |(before, _)| before);
            // Known when it is built.
            if call.ends_with("env!") {
                continue;
            }
            let (name, default) = if call.ends_with("Secret::required") || call.ends_with("Secret::optional") {
                (format!("{}_PARAMETER", literal.value), None)
            } else {
                (literal.value.to_owned(), defaults::of(call, literal, &sources))
            };
            let known = read.entry(name).or_default();
            *known = known.take().or(default);
        }
    }
    assert!(read.len() > 20, "{read:?}");
    read
}

fn by_name(rows: &[Row]) -> BTreeMap<&str, &Row> {
    rows.iter().map(|row| (row.value(0), row)).collect()
}

#[test]
fn the_page_has_the_parameters_of_the_template_with_their_defaults() {
    let rows = table(PAGE, "Template parameters");
    let documented: BTreeMap<_, _> = rows.iter().map(|row| (row.value(0).to_owned(), row.cell(1).to_owned())).collect();
    let in_words = |default: Option<String>| match default.as_deref() {
        None => "required".to_owned(),
        Some("") => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let deployed: BTreeMap<_, _> =
        Template::read().parameters().into_iter().map(|(name, default)| (name, in_words(default))).collect();
    assert_eq!(documented, deployed);
    assert_eq!(rows.len(), documented.len(), "a parameter stands there twice");
}

#[test]
fn the_page_says_which_variable_a_parameter_becomes() {
    let rows = table(PAGE, "Template parameters");
    let documented: BTreeSet<_> = rows
        .iter()
        .flat_map(|row| row.codes(2).into_iter().map(|variable| (variable.to_owned(), row.value(0).to_owned())))
        .collect();
    let variables = Template::read().variables();
    let deployed: BTreeSet<_> = variables
        .into_iter()
        .filter_map(|(variable, set_to)| match set_to {
            SetTo::Parameter(parameter) => Some((variable, parameter)),
            SetTo::Resource => None,
        })
        .collect();
    assert_eq!(documented, deployed);
}

#[test]
fn the_page_has_what_the_template_sets_by_itself() {
    let variables = Template::read().variables().into_iter();
    let deployed: BTreeSet<_> =
        variables.filter(|(_, set_to)| *set_to == SetTo::Resource).map(|(variable, _)| variable).collect();
    assert_eq!(names(&table(PAGE, "Set by the template")), deployed);
}

#[test]
fn the_page_has_every_other_variable_that_a_function_reads() {
    let set: BTreeSet<_> = Template::read().variables().into_keys().collect();
    let read: BTreeSet<_> = read_by_functions().into_keys().collect();
    assert_eq!(names(&table(PAGE, "Not in the template")), &read - &set);
    assert_eq!(&set - &read, BTreeSet::new(), "variables that the template sets and nobody reads");
}

#[test]
fn defaults_are_those_of_the_code() {
    let (parameters, others) = (table(PAGE, "Template parameters"), table(PAGE, "Not in the template"));
    let variables = Template::read().variables();
    let mut compared = 0;
    for (variable, default) in read_by_functions() {
        let Some(default) = default else { continue };
        // What stands in the template and in the code is the same, so that a function without the template behaves alike.
        let documented = match variables.get(&variable) {
            Some(SetTo::Parameter(parameter)) => by_name(&parameters)[parameter.as_str()].value(1),
            Some(SetTo::Resource) => panic!("{variable} has a default and is set by the template"),
            None => by_name(&others)[variable.as_str()].value(1),
        };
        assert_eq!(documented, default, "{variable}");
        compared += 1;
    }
    assert!(compared > 15, "only {compared} defaults were found in the code");
}
