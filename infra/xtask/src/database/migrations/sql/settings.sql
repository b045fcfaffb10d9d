-- A migration may have left settings of the session behind.
reset all;
set client_min_messages = warning;
set standard_conforming_strings = on;
-- Whoever waits for a table's lock also holds up everybody who comes after.
set lock_timeout = '10s';
set statement_timeout = 0;
