# mypy: ignore-errors
"""Whether a release of awslambdaric is as `client.py` takes it to be; if not, it keeps its own transport.

Run once by each interpreter that is prepared: `known.py FOLDER...`, the folders being what to import from. Ends with
status 0 where it is. Keeps to Python 3.8's syntax.
"""

import sys

#: What the methods that are `client.py` relies on refer to, in releases 2.2.1 to 4.2.2. Another may do more.
_KNOWN = {
    "__init__": ("self lambda_runtime_address use_thread_for_polling_next ThreadPoolExecutor concurrent.futures"),
    "_get_next": "self e runtime_client next Exception handle_exception",
    "wait_next_invocation": (
        "self executor future response_body headers e use_thread_for_polling_next ThreadPoolExecutor submit _get_next"
        " runtime_client next result Exception FaultException LAMBDA_RUNTIME_CLIENT_ERROR format str"
        " InvocationRequest get"
    ),
    "post_invocation_result": (
        "self invoke_id result_data content_type invocation_id e runtime_client post_invocation_result isinstance"
        " bytes encode Exception handle_exception"
    ),
    "post_invocation_error": (
        "self invoke_id error_response_data xray_fault invocation_id max_header_size e len encode runtime_client"
        " post_error Exception handle_exception"
    ),
    "call_rapid": (
        "self http_method endpoint expected_http_code payload headers http runtime_connection response response_body"
        " http.client client HTTPConnection lambda_runtime_address connect request to_json getresponse read code"
        " LambdaRuntimeClientError"
    ),
    "post_init_error": (
        "self error_response_data error_type_override endpoint headers e http ERROR_TYPE_HEADER call_rapid HTTPStatus"
        " ACCEPTED Exception handle_init_error runtime_connection response response_body http.client client"
        " HTTPConnection lambda_runtime_address connect request to_json getresponse read code LambdaRuntimeClientError"
    ),
}
#: Those that not every release has.
_OPTIONAL = ("_get_next", "call_rapid")


def fits(theirs):
    """Whether this release of awslambdaric is as known here; `theirs` is its lambda_runtime_client."""
    client = getattr(theirs, "LambdaRuntimeClient", None)
    for name, known in _KNOWN.items():
        method = getattr(client, name, None)
        if method is None and name in _OPTIONAL:
            continue
        code = getattr(method, "__code__", None)
        if code is None or not set(known.split()).issuperset(code.co_names + code.co_varnames):
            return False
    wanted = ("LambdaRuntimeClientError", "ERROR_TYPE_HEADER", "to_json", "runtime_client")
    return all(hasattr(theirs, name) for name in wanted)


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:]
    from awslambdaric import lambda_runtime_client

    sys.exit(0 if fits(lambda_runtime_client) else 1)
