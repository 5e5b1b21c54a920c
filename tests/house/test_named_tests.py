"""The tests that people call by name are there under that name."""

from __future__ import annotations

import ast

import pytest

BENCHMARKS = "tests/performance/test_comprehensive_benchmarks.py::TestAPIEndpointBenchmarks"
FAILURES = "tests/performance/test_failure_scenarios.py::TestRedisFailureScenarios"
PUBLISHING = "tests/unit/backend/cc/test_logging_redis_publish.py::TestLogL1RedisPublishAfterCommit"
NAMED = [
    f"{BENCHMARKS}::test_cc_module_endpoints_latency",
    f"{FAILURES}::test_redis_connection_failure_graceful_degradation",
    "tests/unit/backend/cc/test_deps.py::test_get_cc_db_returns_session",
    f"{PUBLISHING}::test_publish_after_commit_event_log",
]


@pytest.mark.parametrize("node_id", NAMED)
def test_it_exists(root, node_id) -> None:
    """The file, the class and the test are found by reading, without running anything."""
    path, *names = node_id.split("::")
    node: ast.AST = ast.parse((root / path).read_text())
    for name in names:
        inner = {child.name: child for child in ast.iter_child_nodes(node) if hasattr(child, "name")}
        assert name in inner
        node = inner[name]


FILES = [
    "tests/common/test_pubsub.py",
    "tests/common/test_pubsub_circuit_breaker.py",
    "tests/integration/test_redis_foundation.py",
    "tests/integration/test_redis_pubsub.py",
    "tests/integration/test_redis_performance.py",
    "tests/performance/test_production_readiness.py",
    "tests/unit/common/test_redis_pubsub_comprehensive.py",
    "tests/unit/backend/cc/test_logging_redis_simple.py",
]


@pytest.mark.parametrize("path", FILES)
def test_the_file_exists_and_holds_tests(root, path) -> None:
    tree = ast.parse((root / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert [node for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")]
