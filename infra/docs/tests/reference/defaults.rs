//! What a variable is taken for where it is absent, as the code says it: a literal, or a constant by its name.

use crate::source::{Literal, Source, arguments};

/// The default in `env.parsed("NAME", 7)` or `env.optional("NAME").unwrap_or_else(|| "text".to_owned())`, in the unit that the
/// variable has; `None` where there is none, or where it is made of another variable.
pub(crate) fn of(call: &str, literal: &Literal<'_>, sources: &[Source]) -> Option<String> {
    if let Some(otherwise) = literal.after.strip_prefix(").unwrap_or_else(|| ") {
        return value(arguments(otherwise).first()?, "", sources);
    }
    let reader =
        ["parsed", "seconds", "milliseconds"].into_iter().find(|reader| call.ends_with(&format!(".{reader}")))?;
    let given = *arguments(literal.after.strip_prefix(", ")?).first()?;
    if given.starts_with("format!(") {
        return None;
    }
    let value = value(given, reader, sources);
    Some(value.unwrap_or_else(|| panic!("which default is `{given}` of {}?", literal.value)))
}

/// What an expression comes to.
fn value(expression: &str, reader: &str, sources: &[Source]) -> Option<String> {
    let expression = expression.trim();
    if let Some(text) = expression.strip_prefix('"') {
        return text.split('"').next().map(str::to_owned);
    }
    if let Some(number) = expression.strip_prefix("Duration::from_") {
        let (unit, number) = number.trim_end_matches(')').split_once('(')?;
        let number: u64 = number.replace('_', "").parse().ok()?;
        return match (unit, reader) {
            ("secs", "seconds") | ("millis", "milliseconds") => Some(number.to_string()),
            ("secs", "milliseconds") => Some((number * 1000).to_string()),
            _ => None,
        };
    }
    if let Some(duration) = expression.strip_suffix(".as_millis() as u32") {
        return value(duration, "milliseconds", sources);
    }
    if expression.starts_with(|first: char| first.is_ascii_digit()) || ["true", "false"].contains(&expression) {
        return Some(expression.replace('_', ""));
    }
    let name = expression.rsplit("::").next()?;
    let found: Vec<_> = sources.iter().filter_map(|source| constant(name, &source.text)).collect();
    if found.len() == 1 { value(found[0], reader, sources) } else { None }
}

/// What stands behind `const NAME: T =`, or behind the name of a field in `const DEFAULT: Self = Self { ... }`.
fn constant<'a>(name: &str, text: &'a str) -> Option<&'a str> {
    if let Some((_, rest)) = text.split_once(&format!("const {name}: ")) {
        return rest.split_once("= ")?.1.split(';').next();
    }
    let (_, fields) = text.split_once("const DEFAULT: Self = Self {")?;
    arguments(fields).into_iter().find_map(|field| field.strip_prefix(&format!("{name}: ")))
}

#[test]
fn defaults_are_found_by_value_and_by_name() {
    let text = r#"
        const A_WAIT: Duration = Duration::from_millis(500);
        pub const DEFAULT: Self = Self { max: rate::CALLS, window: rate::WINDOW.as_millis() as u32, lease: Duration::from_secs(1_800) };
        pub const CALLS: u32 = 1_00;
        pub const WINDOW: Duration = Duration::from_secs(10);
        (parsed.parsed("A_A", 7)?, env.milliseconds("A_B", crate::A_WAIT)?, env.parsed("A_C", max)?, env.parsed("A_D", window)?,
        env.seconds("A_E", lease)?, env.parsed("A_F", "x.y".to_owned())?, env.parsed("A_G", false)?, env.required("A_H")?,
        env.optional("A_I").unwrap_or_else(|| "z".to_owned()), env.parsed("A_J", format!("{other}/x"))?)
    "#;
    let sources = [Source { path: String::new(), text: text.to_owned() }];
    let literals = sources[0].literals();
    let defaults = literals.iter().filter(|literal| literal.value.starts_with("A_"));
    let defaults = defaults.map(|literal| of(literal.before.rsplit_once('(').unwrap().0, literal, &sources));
    let expected = ["7", "500", "100", "10000", "1800", "x.y", "false", "", "z", ""];
    assert_eq!(defaults.map(Option::unwrap_or_default).collect::<Vec<_>>(), expected);
}
