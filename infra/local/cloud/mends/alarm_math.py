"""An alarm over several metrics can be deployed.

On AWS an alarm looks at one metric or at an expression over several (`Metrics`). ministack refuses the second, and with it the whole
template. Here it is kept as an alarm over the first metric of its expression, which nothing here evaluates.
"""


def apply() -> None:
    from ministack.services.cloudformation import provisioners

    record = provisioners._cw_metric_alarm_record

    def record_of_first_metric(name, props):
        stats = [metric["MetricStat"] for metric in props.get("Metrics") or [] if "MetricStat" in metric]
        if stats:
            first = {"Period": stats[0]["Period"], "Statistic": stats[0]["Stat"], **stats[0]["Metric"]}
            props = {**{key: value for key, value in props.items() if key != "Metrics"}, **first}
        return record(name, props)

    provisioners._cw_metric_alarm_record = record_of_first_metric
