//! What the suites before it have left behind on their stack: logs, documents, reports and refusals without anybody's
//! data, and permissions that were all needed.
//!
//! Runs after `end-to-end` on its stack, which `STACK_JSON` names; `ANSWERS_LOG` names the refusals that the API gave it. Where `cases`
//! or `browser` had a stack of its own, `privacy` looks at that one too.
//!
//! | module | what it is for |
//! |---|---|
//! | `privacy` | no name, e-mail address, phone number, token or key |
//! | `privileges` | each role's permissions, and which of them were used |
//! | `secrets` | what must not be found, and where it would be found |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod privacy;
mod privileges;
mod secrets;
