-- One run at a time. The lock goes with the session.
select pg_try_advisory_lock(7266432802) as free \gset
\if :free
\else
  \echo busy
  \q
\endif
