//! The database's URL, taken apart so that its parts reach psql by the environment: arguments stand in the list of
//! processes.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
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

/// How it is made sure that a server is the one that the URL names, before it gets a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// By its certificate and the name in it.
    Certificate,
    /// It is on this machine.
    ThisMachine,
    /// Not at all, since the URL wants it so. It gets a proof of the password (SCRAM), never the password.
    Nothing,
}

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
        match self.given("PGSSLMODE") {
            Some(mode) => !["disable", "allow", "prefer"].contains(&mode),
            None => !self.is_this_machine(),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        match self.given("PGSSLMODE") {
            Some("verify-full") => Trust::Certificate,
            // Without a look at the name, anybody's certificate of a public authority would do.
            Some("verify-ca") if self.given("PGSSLROOTCERT").is_some() => Trust::Certificate,
            None if !self.is_this_machine() => Trust::Certificate,
            _ if self.is_this_machine() => Trust::ThisMachine,
            _ => Trust::Nothing,
        }
    }

    /// Whether the authorities that may have signed the server's certificate must be named.
    pub(crate) fn needs_roots(&self) -> bool {
        self.trust() == Trust::Certificate && self.given("PGSSLROOTCERT").is_none()
    }

    fn is_this_machine(&self) -> bool {
        let by_number = self.host.starts_with("127.") && self.host.parse::<Ipv4Addr>().is_ok();
        self.host.starts_with('/') || by_number || ["localhost", "::1"].contains(&self.host.as_str())
    }

    /// A parameter of the URL, by libpq's variable.
    fn given(&self, variable: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| *name == variable).map(|(_, value)| value.as_str())
    }

    /// Tells a psql where to go, and what to make sure of there. `roots` is a file of authorities, if one [is needed](Self::needs_roots).
    pub(crate) fn lead(&self, psql: &mut Command, roots: Option<&Path>) {
        for variable in FOREIGN {
            psql.env_remove(variable);
        }
        // A connection that Kerberos encrypts would ask for no certificate.
        psql.env("PGGSSENCMODE", "disable");
        // Known since version 16; see `Session::new` for older ones.
        match self.trust() {
            Trust::Certificate => {}
            Trust::ThisMachine => drop(psql.env("PGREQUIREAUTH", "!password")),
            Trust::Nothing => drop(psql.env("PGREQUIREAUTH", "scram-sha-256")),
        }
        psql.envs(roots.map(|roots| ("PGSSLROOTCERT", roots)));
        psql.env("PGHOST", &self.host).env("PGPORT", self.port.to_string());
        psql.env("PGUSER", &self.user).env("PGDATABASE", &self.database);
        psql.env("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT_SECONDS).env("PGAPPNAME", "ghl-sync migrate");
        psql.env("PGSSLMODE", if self.needs_tls() { "verify-full" } else { "prefer" });
        psql.envs(self.parameters.iter().map(|(variable, value)| (variable, value)));
        // Without one, libpq looks into PGPASSWORD and ~/.pgpass.
        psql.envs(self.password.iter().map(|password| ("PGPASSWORD", password)));
    }

    pub(crate) fn server(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
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
        Address::of(url).unwrap().lead(&mut psql, Some(Path::new("/roots.pem")));
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
    fn no_server_gets_a_password_that_was_not_made_sure_of() {
        let (any, proof, no_password) = (None, Some("scram-sha-256"), Some("!password"));
        for (url, mode, trust, methods) in [
            ("postgres://u@db.x.supabase.co/postgres", "verify-full", Trust::Certificate, any),
            ("postgres://u@h.example/d?sslmode=verify-full", "verify-full", Trust::Certificate, any),
            ("postgres://u@h.example/d?sslmode=verify-ca", "verify-ca", Trust::Nothing, proof),
            ("postgres://u@h.example/d?sslmode=verify-ca&sslrootcert=/own", "verify-ca", Trust::Certificate, any),
            ("postgres://u@h.example/d?sslmode=require", "require", Trust::Nothing, proof),
            ("postgres://u@db.x.supabase.co/postgres?sslmode=disable", "disable", Trust::Nothing, proof),
            ("postgres://u@127.0.0.1.example/d", "verify-full", Trust::Certificate, any),
            ("postgres://u@0.0.0.0/d", "verify-full", Trust::Certificate, any),
            ("postgres://u@127.0.0.1/postgres", "prefer", Trust::ThisMachine, no_password),
            ("postgres://u@localhost/postgres?sslmode=require", "require", Trust::ThisMachine, no_password),
            ("postgres://u@localhost/postgres?sslmode=verify-full", "verify-full", Trust::Certificate, any),
            ("postgres://u@%2Frun%2Fpostgresql/postgres", "prefer", Trust::ThisMachine, no_password),
        ] {
            let found = environment(url);
            assert_eq!(found["PGSSLMODE"], mode, "{url}");
            assert_eq!(Address::of(url).unwrap().trust(), trust, "{url}");
            assert_eq!(found.get("PGREQUIREAUTH").map(String::as_str), methods, "{url}");
            assert_eq!(found["PGGSSENCMODE"], "disable");
        }
    }

    #[test]
    fn authorities_are_those_of_the_url_before_others() {
        assert_eq!(environment("postgres://u@h.example/d?sslrootcert=%2Fown.pem")["PGSSLROOTCERT"], "/own.pem");
        assert_eq!(environment("postgres://u@h.example/d")["PGSSLROOTCERT"], "/roots.pem");
        assert!(!Address::of("postgres://u@h.example/d?sslrootcert=%2Fown.pem").unwrap().needs_roots());
        assert!(Address::of("postgres://u@h.example/d").unwrap().needs_roots());
        assert!(!Address::of("postgres://u@localhost/d").unwrap().needs_roots());
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
