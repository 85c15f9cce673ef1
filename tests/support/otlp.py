"""The messages of OTLP for tests, read by protobuf's own runtime.

Made from the field numbers that the protocol publishes (opentelemetry-proto 1.x). The package of that name would do,
but it shares its files with an older copy inside `xds-protos`, and whichever is installed last wins.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = [
    "ExportMetricsServiceRequest",
    "ExportMetricsServiceResponse",
    "ExportTraceServiceRequest",
    "ExportTraceServiceResponse",
]

_SCHEMA = """
KeyValue: key=1 string, value=2 AnyValue
AnyValue: string_value=1 string @value, bool_value=2 bool @value, int_value=3 int64 @value,
  double_value=4 double @value, array_value=5 ArrayValue @value, kvlist_value=6 KeyValueList @value,
  bytes_value=7 bytes @value
ArrayValue: values=1 AnyValue*
KeyValueList: values=1 KeyValue*
Resource: attributes=1 KeyValue*, dropped_attributes_count=2 uint32
InstrumentationScope: name=1 string, version=2 string, attributes=3 KeyValue*, dropped_attributes_count=4 uint32
ExportMetricsServiceRequest: resource_metrics=1 ResourceMetrics*
ExportMetricsServiceResponse: partial_success=1 ExportMetricsPartialSuccess
ExportMetricsPartialSuccess: rejected_data_points=1 int64, error_message=2 string
ResourceMetrics: resource=1 Resource, scope_metrics=2 ScopeMetrics*, schema_url=3 string
ScopeMetrics: scope=1 InstrumentationScope, metrics=2 Metric*, schema_url=3 string
Metric: name=1 string, description=2 string, unit=3 string, gauge=5 Gauge @data, sum=7 Sum @data,
  histogram=9 Histogram @data
Gauge: data_points=1 NumberDataPoint*
Sum: data_points=1 NumberDataPoint*, aggregation_temporality=2 AggregationTemporality, is_monotonic=3 bool
Histogram: data_points=1 HistogramDataPoint*, aggregation_temporality=2 AggregationTemporality
NumberDataPoint: start_time_unix_nano=2 fixed64, time_unix_nano=3 fixed64, as_double=4 double @value,
  as_int=6 sfixed64 @value, attributes=7 KeyValue*, flags=8 uint32
HistogramDataPoint: start_time_unix_nano=2 fixed64, time_unix_nano=3 fixed64, count=4 fixed64, sum=5 double?,
  bucket_counts=6 fixed64*, explicit_bounds=7 double*, attributes=9 KeyValue*, flags=10 uint32, min=11 double?,
  max=12 double?
ExportTraceServiceRequest: resource_spans=1 ResourceSpans*
ExportTraceServiceResponse: partial_success=1 ExportTracePartialSuccess
ExportTracePartialSuccess: rejected_spans=1 int64, error_message=2 string
ResourceSpans: resource=1 Resource, scope_spans=2 ScopeSpans*, schema_url=3 string
ScopeSpans: scope=1 InstrumentationScope, spans=2 Span*, schema_url=3 string
Span: trace_id=1 bytes, span_id=2 bytes, trace_state=3 string, parent_span_id=4 bytes, name=5 string, kind=6 SpanKind,
  start_time_unix_nano=7 fixed64, end_time_unix_nano=8 fixed64, attributes=9 KeyValue*,
  dropped_attributes_count=10 uint32, status=15 Status, flags=16 fixed32
Status: message=2 string, code=3 StatusCode
"""
_ENUMS = {
    "AggregationTemporality": ("UNSPECIFIED", "DELTA", "CUMULATIVE"),
    "SpanKind": ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"),
    "StatusCode": ("UNSET", "OK", "ERROR"),
}
_PREFIXES = {
    "AggregationTemporality": "AGGREGATION_TEMPORALITY_",
    "SpanKind": "SPAN_KIND_",
    "StatusCode": "STATUS_CODE_",
}
_PACKAGE = "otlp"
_FIELD = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="otlp.proto", package=_PACKAGE, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=_PREFIXES[name] + value, number=number)
    for line in _SCHEMA.replace(",\n ", ",").strip().splitlines():
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        for text in fields.split(","):
            _add_field(message, text.split())
        for field in message.field:
            if field.proto3_optional:  # each has a union of its own, behind the written ones
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles(["otlp.proto"], pool)


def _add_field(message: descriptor_pb2.DescriptorProto, words: list[str]) -> None:
    name, _, number = words[0].partition("=")
    kind = words[1].rstrip("*?")
    field = message.field.add(name=name, number=int(number))
    field.label = _FIELD.LABEL_REPEATED if words[1].endswith("*") else _FIELD.LABEL_OPTIONAL
    field.proto3_optional = words[1].endswith("?")
    if kind in _ENUMS:
        field.type, field.type_name = _FIELD.TYPE_ENUM, f".{_PACKAGE}.{kind}"
    elif kind[0].isupper():
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = _FIELD.Type.Value(f"TYPE_{kind.upper()}")
    if len(words) == 3:
        union = words[2][1:]
        names = [each.name for each in message.oneof_decl]
        if union not in names:
            message.oneof_decl.add(name=union)
            names.append(union)
        field.oneof_index = names.index(union)


_ALL = _messages()
ExportMetricsServiceRequest: Any = _ALL[f"{_PACKAGE}.ExportMetricsServiceRequest"]
ExportMetricsServiceResponse: Any = _ALL[f"{_PACKAGE}.ExportMetricsServiceResponse"]
ExportTraceServiceRequest: Any = _ALL[f"{_PACKAGE}.ExportTraceServiceRequest"]
ExportTraceServiceResponse: Any = _ALL[f"{_PACKAGE}.ExportTraceServiceResponse"]
