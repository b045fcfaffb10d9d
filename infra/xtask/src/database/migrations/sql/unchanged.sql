-- What somebody read and agreed to must still hold.
select :'state'::jsonb = :'planned'::jsonb as unchanged \gset
\if :unchanged
\else
  \echo moved
  \q
\endif
