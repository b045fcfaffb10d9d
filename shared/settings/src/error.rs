use thiserror::Error;

/// Why the configuration can't be used. The text names the variable and what to do, never a value that may be secret.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A variable without a default is absent or empty.
    #[error("{name} is not set: set it in the function's environment")]
    Missing {
        /// The variable.
        name: String,
    },
    /// A variable's value can't be read as what it should be.
    #[error("{name} is malformed: {problem}")]
    Malformed {
        /// The variable.
        name: String,
        /// What is wrong with the value, in words.
        problem: String,
    },
    /// A secret is given neither as a value nor as the name of an SSM parameter.
    #[error("{name} is not set: set {name}_PARAMETER to the name of an SSM parameter, or {name} to the value")]
    MissingSecret {
        /// The variable of the value.
        name: String,
    },
    /// The SSM parameter that holds a secret couldn't be read.
    #[error(
        "{name}_PARAMETER names the SSM parameter {parameter}, which can't be read: \
         check that it exists (`cargo xtask configure` makes it) and that this function's role may read it"
    )]
    SecretUnreadable {
        /// The variable of the value.
        name: String,
        /// The parameter's name.
        parameter: String,
        /// What SSM answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The SSM parameter that holds a secret has no value.
    #[error("{name}_PARAMETER names the SSM parameter {parameter}, which is empty: give it a value")]
    SecretEmpty {
        /// The variable of the value.
        name: String,
        /// The parameter's name.
        parameter: String,
    },
}

impl SettingsError {
    /// A [`SettingsError::Malformed`] for a check that a caller makes itself.
    pub fn malformed(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed { name: name.into(), problem: problem.into() }
    }
}
