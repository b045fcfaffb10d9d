//! The database's URL, taken apart so that its parts reach psql by the environment: arguments stand in the list of
//! processes.

use std::fmt;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Supabase's pooler in transaction mode: each transaction may get another session, which no lock outlives.
const TRANSACTION_POOLER: u16 = 6543;
const CONNECT_TIMEOUT_SECONDS: &str = "15";

/// Parameters of a URL, and libpq's variables for them.
const PARAMETERS: [(&str, &str); 6] = [
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
];

/// Variables that would lead elsewhere than the URL says.
const FOREIGN: [&str; 5] = ["PGSERVICE", "PGSERVICEFILE", "PGHOSTADDR", "PGTARGETSESSIONATTRS", "PGOPTIONS"];

/// Shown without its password.
pub(crate) struct Address {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    database: String,
    parameters: Vec<(&'static str, String)>,
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?parameters`. An error holds nothing of it: what was taken for
    /// the host may be the end of the password.
    pub(crate) fn of(url: &str) -> Result<Self> {
        Self::parse(url.trim()).context(
            "the database URL can't be read (postgres://user:password@host:5432/postgres; in the password, @ is written \
             %40, / %2F, : %3A, ? %3F, # %23 and % %25)",
        )
    }

    fn parse(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) else {
            bail!("it doesn't begin with postgres:// or postgresql://");
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (who, whence) = authority.rsplit_once('@').context("no user stands before an @")?;
        let (user, password) = who.split_once(':').map_or((who, None), |(user, password)| (user, Some(password)));
        let (host, port) = host_and_port(whence)?;
        if user.is_empty() || host.is_empty() {
            bail!("it names no {}", if user.is_empty() { "user" } else { "host" });
        }
        if database.contains(['/', '@']) {
            bail!("its database has a / or an @");
        }
        let user = decoded(user)?;
        let database = if database.is_empty() { user.clone() } else { decoded(database)? };
        let password = password.filter(|password| !password.is_empty()).map(decoded).transpose()?;
        let parameters = parameters(query)?;
        let address = Self { host: decoded(host)?, port, user, password, database, parameters };
        let parts = [&address.host, &address.user, &address.database];
        if parts.into_iter().chain(&address.password).any(|part| part.contains('\0')) {
            bail!("it has a null byte");
        }
        Ok(address)
    }

    pub(crate) fn is_transaction_pooler(&self) -> bool {
        self.port == TRANSACTION_POOLER
    }

    /// Supabase's direct connection, which has no IPv4 address.
    pub(crate) fn is_supabase_direct(&self) -> bool {
        self.host.starts_with("db.") && self.host.ends_with(".supabase.co")
    }

    /// Whether what is sent must be encrypted: it leaves this machine, and nobody asked for something else.
    pub(crate) fn needs_tls(&self) -> bool {
        let ours = self.host.starts_with('/') || self.host.starts_with("127.");
        let ours = ours || ["localhost", "::1"].contains(&self.host.as_str());
        match self.parameters.iter().find(|(variable, _)| *variable == "PGSSLMODE") {
            Some((_, mode)) => !["disable", "allow", "prefer"].contains(&mode.as_str()),
            None => !ours,
        }
    }

    /// Tells a psql where to go.
    pub(crate) fn lead(&self, psql: &mut Command) {
        for variable in FOREIGN {
            psql.env_remove(variable);
        }
        psql.env("PGHOST", &self.host).env("PGPORT", self.port.to_string());
        psql.env("PGUSER", &self.user).env("PGDATABASE", &self.database);
        psql.env("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT_SECONDS).env("PGAPPNAME", "ghl-sync migrate");
        psql.env("PGSSLMODE", if self.needs_tls() { "require" } else { "prefer" });
        psql.envs(self.parameters.iter().map(|(variable, value)| (variable, value)));
        // Without one, libpq looks into PGPASSWORD and ~/.pgpass.
        psql.envs(self.password.iter().map(|password| ("PGPASSWORD", password)));
    }

    pub(crate) fn server(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}, as {}", self.database, self.server(), self.user)
    }
}

fn host_and_port(text: &str) -> Result<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').context("its host's [ isn't closed")?,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, 5432)),
        Some(digits) => Ok((host, digits.parse().ok().context("its port isn't a number")?)),
        None => bail!("its host is followed by something else than a port"),
    }
}

fn parameters(query: &str) -> Result<Vec<(&'static str, String)>> {
    let known = PARAMETERS.map(|(name, _)| name).join(", ");
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').context("a parameter has no =")?;
        let known = PARAMETERS.iter().find(|(known, _)| *known == name);
        let (_, variable) = known.context("it has a parameter that isn't known")?;
        Ok((*variable, decoded(value)?))
    };
    let all: Result<_> = query.split('&').filter(|pair| !pair.is_empty()).map(read).collect();
    all.with_context(|| format!("parameters can be {known}"))
}

fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        let [Some(high), Some(low)] = digits else {
            bail!("a % isn't followed by two hexadecimal digits");
        };
        bytes.push(u8::try_from(high * 16 + low)?);
    }
    String::from_utf8(bytes).ok().context("it isn't UTF-8")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn environment(url: &str) -> BTreeMap<String, String> {
        let mut psql = Command::new("psql");
        Address::of(url).unwrap().lead(&mut psql);
        assert_eq!(psql.get_args().count(), 0);
        let text = |os: &std::ffi::OsStr| os.to_str().unwrap().to_owned();
        psql.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect()
    }

    #[test]
    fn every_part_reaches_psql_by_the_environment() {
        let found = environment(
            "postgresql://me%40here:p%2Fw:%C3%A9@h.example:6000/data?sslmode=verify-full&connect_timeout=3",
        );
        for (name, value) in [
            ("PGHOST", "h.example"),
            ("PGPORT", "6000"),
            ("PGUSER", "me@here"),
            ("PGPASSWORD", "p/w:é"),
            ("PGDATABASE", "data"),
            ("PGSSLMODE", "verify-full"),
            ("PGCONNECT_TIMEOUT", "3"),
        ] {
            assert_eq!(found[name], value, "{name}");
        }
    }

    #[test]
    fn what_is_left_out_has_libpqs_defaults() {
        let found = environment("postgres://me@[::1]");
        assert_eq!((found["PGHOST"].as_str(), found["PGPORT"].as_str()), ("::1", "5432"));
        assert_eq!(found["PGDATABASE"], "me");
        assert!(!found.contains_key("PGPASSWORD"));
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_asked_otherwise() {
        for (url, mode) in [
            ("postgres://u@db.x.supabase.co/postgres", "require"),
            ("postgres://u@db.x.supabase.co/postgres?sslmode=disable", "disable"),
            ("postgres://u@127.0.0.1/postgres", "prefer"),
            ("postgres://u@%2Frun%2Fpostgresql/postgres", "prefer"),
        ] {
            assert_eq!(environment(url)["PGSSLMODE"], mode, "{url}");
        }
    }

    #[test]
    fn an_error_holds_nothing_of_the_url() {
        for url in [
            "",
            "hunter2",
            "mysql://u:hunter2@h/d",
            "postgres://hunter2",
            "postgres://u:/hunter2@h/d",
            "postgres://u:12/hunter2@h/d",
            "postgres://u:a@b/hunter2@h/d",
            "postgres://u:a?hunter2@h/d",
            "postgres://u:a@b?hunter2=1@h/d",
            "postgres://u:%hunter2@h/d",
            "postgres://u:%ff-hunter2@h/d",
            "postgres://u:hunter2%00@h/d",
            "postgres://:hunter2@h/d",
            "postgres://u:hunter2@/d",
            "postgres://u:p@h:hunter2/d",
            "postgres://u:p@[::1]hunter2/d",
        ] {
            let error = format!("{:#}", Address::of(url).err().expect(url));
            assert!(!error.contains("hunter2") && error.contains("can't be read"), "{url}: {error}");
        }
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let address = Address::of("postgres://u:hunter2@h:6543/d").unwrap();
        assert_eq!(address.to_string(), "d on h:6543, as u");
        assert!(address.is_transaction_pooler());
    }
}
