-- Refunds that move no date are seen in transactions, which runs read; and a product list that is shorter
-- than its own count removes no product.
--
-- Runs of the version before that are under way go on, without reading transactions.

alter table public.sync_runs add column if not exists transactions jsonb;

create table if not exists public.sync_refunds (
  location_id text not null,
  order_id text not null,
  refunded numeric not null,
  received numeric not null,
  transactions jsonb not null,
  changed_at timestamptz,
  to_report boolean not null default false,
  primary key (location_id, order_id)
);

alter table public.sync_refunds enable row level security;

-- A function may call one that comes after it.
set check_function_bodies = off;

CREATE OR REPLACE FUNCTION public.replace_products(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_products jsonb := coalesce(nullif(request -> 'products', 'null'), '[]');
  v_ids text[];
begin
  perform sync_internal.serialize('products', v_location);

  delete from public.sync_products
  where location_id = v_location and coalesce((request ->> 'whole')::boolean, true)
    and product_id not in (
      select p ->> 'product_id' from jsonb_array_elements(v_products) as p where p ->> 'product_id' is not null);

  insert into public.sync_products as s (location_id, product_id, name, image)
  select distinct on (p.product_id) v_location, p.product_id, p.name, p.image
  from jsonb_to_recordset(v_products) as p (product_id text, name text, image text)
  where nullif(p.product_id, '') is not null
  order by p.product_id
  on conflict (location_id, product_id) do update set name = excluded.name, image = excluded.image
  where (s.name, s.image) is distinct from (excluded.name, excluded.image);

  update public.sync_locations set products_refreshed_at = clock_timestamp() where location_id = v_location;
  v_ids := sync_internal.listed_products(v_location);
  return jsonb_build_object('count', cardinality(v_ids), 'product_ids', v_ids);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.lacks_daily_budget(p_location text, p_kind text, p_reserve integer)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
  select coalesce((
    -- Pages of 100 overlap by 10; a listing of refunds, of products, and a few changed orders come on top.
    select 10 + n.listed / 45.0 + case when p_kind = 'full' then n.listed * 1.01 else n.listed * 0.02 end
      > greatest(l.daily_remaining - p_reserve, 0) / 2.0
    from public.sync_limiter l
    cross join lateral (
      select r.listed from public.sync_runs r
      where r.location_id = p_location and r.listing_complete and r.kind in ('full', 'incremental')
        and r.state in ('Delay', 'Completed')
      order by r.started_at desc limit 1
    ) as n
    where l.location_id = p_location and l.daily_observed_at > clock_timestamp() - interval '6 hours'
      and p_reserve is not null
  ), false)
$function$;

CREATE OR REPLACE FUNCTION public.changed_refunds(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
begin
  return (
    select jsonb_build_object('order_ids', coalesce(jsonb_agg(distinct t.order_id order by t.order_id), '[]'))
    from jsonb_to_recordset(coalesce(nullif(request -> 'transactions', 'null'), '[]')) as t (
      transaction_id text, order_id text, refunded numeric)
    join public.ghl_qr_orders o on o.order_id = t.order_id and o.location_id = v_location
    left join public.sync_refunds r on r.location_id = v_location and r.order_id = t.order_id
    left join public.sync_order_memory m on m.location_id = v_location and m.order_id = t.order_id
    where (coalesce((r.transactions ->> t.transaction_id)::numeric, 0) <> coalesce(t.refunded, 0)
        or (r.to_report and o.entitled and m.fetched_at > r.changed_at))
      and (r.order_id is not null or lower(o.payment_status) is distinct from 'refunded'));
end
$function$;

CREATE OR REPLACE FUNCTION public.record_refunds(request jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET jit TO 'off'
AS $function$
declare
  v_location text := sync_internal.location(request);
  v_run public.sync_runs;
  v_due boolean := false;
begin
  select * into v_run from public.sync_runs
  where run_id = (sync_internal.required(request, 'run_id'))::uuid and location_id = v_location for update;
  if not found then
    return jsonb_build_object('run', null, 'publication_due', false);
  end if;

  if v_run.state = 'Syncing' then
    perform sync_internal.note_issues(v_location, coalesce((
      select jsonb_agg(i || jsonb_build_object('run_id', v_run.run_id))
      from jsonb_array_elements(coalesce(nullif(request -> 'issues', 'null'), '[]')) as i), '[]'));
    perform sync_internal.take_refunds(v_run, coalesce(nullif(request -> 'refunds', 'null'), '[]'));
    update public.sync_runs
    set transactions = coalesce(nullif(request -> 'transactions', 'null'), transactions),
      version = version + 1, last_progress_at = clock_timestamp()
    where run_id = v_run.run_id;
  end if;

  v_due := sync_internal.ask_publication(v_location, v_run.run_id);
  select * into v_run from public.sync_runs where run_id = v_run.run_id;
  return jsonb_build_object('run', sync_internal.run_json(v_run), 'publication_due', v_due);
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.take_refunds(p_run public.sync_runs, refunds jsonb)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
  v_changed jsonb;
begin
  with reported as materialized (
    select distinct on (i.order_id) i.order_id, greatest(i.refunded, 0) as refunded, greatest(i.received, 0) as received,
      coalesce(nullif(i.transactions, 'null'), '{}') as transactions, coalesce(r.refunded, 0) as refunded_before,
      o.payment_currency, coalesce(o.entitled, false) as entitled,
      coalesce(r.to_report and o.entitled and m.fetched_at > r.changed_at and r.refunded = i.refunded, false) as is_contradicted,
      coalesce(r.to_report, false) as to_report_before
    from jsonb_to_recordset(refunds) as i (order_id text, refunded numeric, received numeric, transactions jsonb)
    join public.ghl_qr_orders o on o.order_id = i.order_id and o.location_id = p_run.location_id
    left join public.sync_refunds r on r.location_id = p_run.location_id and r.order_id = i.order_id
    left join public.sync_order_memory m on m.location_id = p_run.location_id and m.order_id = i.order_id
    where i.refunded is not null
    order by i.order_id, i.refunded desc
  ), stored as (
    insert into public.sync_refunds as r (location_id, order_id, refunded, received, transactions, changed_at, to_report)
    select p_run.location_id, order_id, refunded, received, transactions,
      case when refunded <> 0 then clock_timestamp() end,
      case when refunded <> refunded_before then refunded >= received and received > 0 and entitled
        else to_report_before and not is_contradicted end
    from reported order by order_id
    on conflict (location_id, order_id) do update set
      refunded = excluded.refunded, received = excluded.received, transactions = excluded.transactions,
      changed_at = case when r.refunded <> excluded.refunded then clock_timestamp() else r.changed_at end,
      to_report = excluded.to_report
    where (r.refunded, r.received, r.transactions, r.to_report)
      is distinct from (excluded.refunded, excluded.received, excluded.transactions, excluded.to_report)
  )
  select jsonb_agg(jsonb_build_object('run_id', p_run.run_id, 'order_id', order_id,
    'code', case when is_contradicted then 'full_refund' else 'partial_refund' end,
    'message', format('By its transactions, %s of %s were refunded. ',
        concat_ws(' ', trim_scale(refunded), payment_currency), trim_scale(received))
      || case when is_contradicted
        then 'GoHighLevel still shows the order as paid, so its tickets stay: look it up there.'
        else 'All its tickets stay. Cancel single tickets by hand if that is what was agreed.' end))
  into v_changed
  from reported
  where entitled and refunded > 0
    and (is_contradicted or (refunded <> refunded_before and (refunded < received or received = 0)));
  perform sync_internal.note_issues(p_run.location_id, coalesce(v_changed, '[]'));
end
$function$;

CREATE OR REPLACE FUNCTION sync_internal.triage_listed(p_run public.sync_runs, p_sweep boolean, orders jsonb)
 RETURNS TABLE(order_id text, number bigint, listed jsonb, decision text, code text)
 LANGUAGE plpgsql
AS $function$
#variable_conflict use_column
begin
  return query
  with named as (
    select distinct on (i.order_id) i.order_id, i.source_updated_at, coalesce(i."foreign", false) as is_foreign,
      i.status, i.payment_status, i.amount
    from jsonb_to_recordset(orders) as i (
      order_id text, source_updated_at timestamptz, "foreign" boolean, status text, payment_status text, amount numeric)
    where nullif(i.order_id, '') is not null
    order by i.order_id, i.source_updated_at desc nulls last
  ), products as materialized (
    select sync_internal.listed_products(p_run.location_id) as listed_products
  ), known as (
    select l.*, m.number, m.incomplete, m.fetched_at is not null as remembered, o.order_id is not null as is_stored,
      sync_internal.is_valid_now(m.valid, m.product_ids, p.listed_products) as valid_now,
      m.product_ids && p.listed_products as product_listed,
      m.source_updated_at = l.source_updated_at as same_as_remembered,
      lower(o.payment_status) = 'refunded' as is_refunded,
      -- The row tells, not the memory: it is what must be in step. An order that failed or whose tickets are due isn't.
      coalesce(o.fetched_at is not null and o.source_updated_at = l.source_updated_at and o.tickets_due is null, false)
        -- A field shows another value than the row, and than the list showed when the order was last fetched.
        and not (l.status is not null and lower(l.status) is distinct from lower(o.order_status)
          and lower(l.status) is distinct from m.listed ->> 'status')
        and not (l.payment_status is not null and lower(l.payment_status) is distinct from lower(o.payment_status)
          and lower(l.payment_status) is distinct from m.listed ->> 'payment_status')
        and not (l.amount is not null and l.amount is distinct from o.total_paid
          and l.amount is distinct from (m.listed ->> 'amount')::numeric)
        -- Transactions told of a refund since it was fetched.
        and not exists (
          select from public.sync_refunds r
          where r.location_id = p_run.location_id and r.order_id = l.order_id and r.changed_at > m.fetched_at)
        and not exists (select from public.ghl_qr_tickets_touched t where t.order_id = l.order_id)
        and not exists (
          select from public.sync_failures f
          where f.location_id = p_run.location_id and f.order_id = l.order_id) as in_step
    from named l
    cross join products p
    left join public.sync_order_memory m on m.location_id = p_run.location_id and m.order_id = l.order_id
    left join public.ghl_qr_orders o on o.order_id = l.order_id and o.location_id = p_run.location_id
    -- Limited, so that each is looked up by its key: joined at once, all of the run's outcomes would be read.
    left join lateral (
      select true as has_row from public.sync_outcomes c
      where c.run_id = p_run.run_id and c.order_id = l.order_id limit 1) as outcome on true
    left join public.sync_run_bits b on b.run_id = p_run.run_id and b.block = m.number / 16384
    where outcome.has_row is null
      and not coalesce(sync_internal.has_bit(b.unchanged, m.number) or sync_internal.has_bit(b.skipped, m.number), false)
  ), decided as (
    select k.*,
      -- Not ours when last fetched, unchanged since, and none of its products is listed now: no need to look again.
      k.remembered and not k.is_stored and not k.valid_now and coalesce(k.same_as_remembered, false)
        and not coalesce(k.product_listed, false) as known_invalid
    from known k
  )
  select d.order_id, case when not d.is_foreign then d.number end,
    nullif(jsonb_strip_nulls(
      jsonb_build_object('status', d.status, 'payment_status', d.payment_status, 'amount', d.amount)), '{}'),
    case
      when p_sweep then case
        when not d.is_foreign and not coalesce(d.is_refunded, false) and not d.known_invalid then 'fetch' end
      when d.is_foreign then 'skip'
      when p_run.kind = 'valid_list' then case
        when not d.remembered then 'fetch' when d.valid_now then 'unchanged' else 'skip' end
      -- A full run looks again at what couldn't be read.
      when d.known_invalid and not (p_run.kind = 'full' and coalesce(d.incomplete, false)) then 'skip'
      when p_run.kind = 'incremental' and d.in_step then 'unchanged'
      else 'fetch'
    end,
    case when d.is_foreign then 'other_location' else 'no_valid_product' end
  from decided d;
end
$function$;

revoke all on function public.changed_refunds(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.changed_refunds(jsonb) to service_role;

revoke all on function public.record_refunds(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.record_refunds(jsonb) to service_role;

revoke all on function sync_internal.take_refunds(public.sync_runs, jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.take_refunds(public.sync_runs, jsonb) to service_role;

revoke all on public.sync_refunds from public, anon, authenticated;
grant select, insert, update, delete on public.sync_refunds to service_role;

revoke all on function sync_internal.triage_listed(public.sync_runs, boolean, jsonb) from public, anon, authenticated, service_role;
grant execute on function sync_internal.triage_listed(public.sync_runs, boolean, jsonb) to service_role;

-- PostgREST learns of new functions.
notify pgrst, 'reload schema';
