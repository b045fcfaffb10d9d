use crate::{leading_number, text};

/// A file of `infra/supabase/schemas`: the definition as it stands today.
#[derive(Debug)]
pub struct Sql {
    file: String,
    text: String,
}

impl Sql {
    /// The file of this name.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn read(file: &str) -> Self {
        Self { file: file.to_owned(), text: text(&format!("infra/supabase/schemas/{file}")) }
    }

    /// The number behind each place where this text stands.
    ///
    /// # Panics
    /// If the text doesn't stand there, or without a number behind it.
    #[must_use]
    pub fn numbers(&self, before: &str) -> Vec<f64> {
        let numbers: Option<Vec<f64>> = self.text.split(before).skip(1).map(leading_number).collect();
        match numbers {
            Some(numbers) if !numbers.is_empty() => numbers,
            _ => panic!("{} has no number behind {before:?}: where does it stand now?", self.file),
        }
    }
}
