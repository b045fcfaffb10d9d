//! End-to-end, database, contract and browser tests.
