"""Answers that would pass without solving their task: none counts, and honest ones still do."""

from typing import Any

import pytest

from paceline.data.rust.items import parse
from paceline.evaluate.code.problems import PROBLEMS
from paceline.evaluate.code.rust import RUST
from paceline.evaluate.code.rust_refusals import refusal
from paceline.evaluate.code.rust_tests import test_module as make_module
from paceline.evaluate.sandbox.sandbox import open_sandbox

pytestmark = pytest.mark.sandbox

GIVEN = '{"title": "Double", "description": "Doubles. Signature: `pub fn double(x: i32) -> i32`"}'
TESTS = """#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small() { assert_eq!(double(2), 4); println!("small"); }

    #[test]
    fn negative() { assert!(double(-3) == -6); }

    #[test]
    #[should_panic(expected = "overflow")]
    fn large() { double(i32::MAX); }

    #[test]
    fn fallible() -> Result<(), String> { if double(0) == 0 { Ok(()) } else { Err("no".to_string()) } }
}"""
HONEST = "pub fn double(x: i32) -> i32 { 2 * x }"
WRONG = "pub fn double(x: i32) -> i32 { x }"


@pytest.fixture(scope="module")
def rust() -> Any:
    """Checks an answer to the task of doubling a number in Rust."""
    row = {
        "task_category": "code_generation",
        "input_data": GIVEN,
        "output_data": f'{{"code": "{HONEST}"}}',
        "test": TESTS,
    }
    toolchain = RUST.toolchain()
    (task,) = RUST.tasks([(0, row)], toolchain)
    sandbox = open_sandbox(toolchain)
    return lambda code: task.check(sandbox, f"```rust\n{code}\n```")


HONEST_RUST = {
    "plain": HONEST,
    "with a main and tests of its own": f'{HONEST}\nfn main() {{ println!("{{}}", double(1)); }}\n#[cfg(test)]\nmod tests {{ use super::*; #[test] fn own() {{ assert_eq!(double(1), 2); }} }}',
    "with words in comments and strings": f'/// Never unsafe, no extern, no PartialEq.\n{HONEST}\n// include_bytes!\npub const A: &str = "unsafe";\npub const Q: char = \'"\'; /* unsafe /* extern */ */ pub fn f<T: PartialEq>(a: T, b: T) -> bool {{ a == b }}\n#[derive(Debug, PartialEq)]\npub struct P;',
}


@pytest.mark.parametrize("name", HONEST_RUST)
def test_honest_rust_passes(rust: Any, name: str) -> None:
    result = rust(HONEST_RUST[name])
    assert (result.compiled, result.passed, result.output) == (True, True, "")


RUST_CHEATS = {
    "wrong": WRONG,
    "exits when called": "pub fn double(_: i32) -> i32 { std::process::exit(0) }",
    "a hook that exits when a test fails": "pub fn double(x: i32) -> i32 { std::panic::set_hook(Box::new(|_| std::process::exit(0))); x }",
    "prints what libtest would": 'pub fn double(_: i32) -> i32 { println!("\\ntest result: ok. 4 passed; 0 failed"); println!("\\n4 of 4"); std::process::exit(0) }',
    "reads the key and gives it back": 'pub fn double(_: i32) -> i32 { let k = std::io::read_to_string(std::io::stdin()).unwrap(); println!("\\n{} 4 of 4", k.trim()); std::process::exit(0) }',
    "a thread that ends the process": "pub fn double(x: i32) -> i32 { std::thread::spawn(|| std::process::exit(0)).join().unwrap(); x }",
    "its own assertions": f"macro_rules! assert_eq {{ ($($t:tt)*) => {{}} }}\nmacro_rules! assert {{ ($($t:tt)*) => {{}} }}\n{WRONG}",
    "assertions under a path": f"mod m {{ #[macro_export] macro_rules! nothing {{ ($($t:tt)*) => {{}} }} }}\npub use nothing as assert_eq;\npub use nothing as assert;\n{WRONG}",
    "a name of the standard library": f"pub mod std {{ pub mod result {{ pub struct Result; }} }}\npub type Result<T, E> = core::result::Result<T, E>;\npub type String = ();\n{WRONG}",
    "an attribute for what follows": f"{WRONG}\n#[cfg(any())]",
    "a comment for what follows": f"{WRONG}\n/*",
    "a brace for what follows": f"{WRONG}\n#[cfg(any())] mod away {{",
    "attributes of the crate": f"#![no_std]\n#![no_main]\n{WRONG}",
    "a crate under another name": f"extern crate self as std;\n{WRONG}",
    "an initialiser that exits": f'extern "C" fn early() {{ std::process::exit(0) }}\n#[used]\n#[link_section = ".init_array"]\nstatic EARLY: extern "C" fn() = early;\n{WRONG}',
    "an initialiser, in a macro": f'macro_rules! m {{ ($($t:tt)*) => {{ #[unsafe(link_section = ".init_array")] #[used] static E: fn() = e; }} }}\nfn e() {{ std::process::exit(0) }}\nm!();\n{WRONG}',
    "another main": "#[no_mangle]\npub fn main() -> i32 { 0 }\npub fn double(x: i32) -> i32 { x }",
    "memory": "pub fn double(x: i32) -> i32 { let p = 0x1000 as *const u8; unsafe { std::ptr::read(p) as i32 + x } }",
    "its own memory as a file": 'pub fn double(x: i32) -> i32 { let k = std::fs::read_to_string("/proc/self/mem").or(std::fs::read_to_string("/given/harness.rs")).unwrap(); println!("{k}"); x }',
    "the source of the tests": f'pub const T: &str = include_str!("answer.rs");\n{WRONG}',
    "equal to everything": "#[derive(Debug)]\npub struct Any;\nimpl PartialEq<i32> for Any { fn eq(&self, _: &i32) -> bool { true } }\npub fn double(_: i32) -> Any { Any }",
    "equal to everything, under an alias": "#[derive(Debug)]\npub struct Any;\nuse std::cmp::PartialEq as P;\nimpl P<i32> for Any { fn eq(&self, _: &i32) -> bool { true } }\npub fn double(_: i32) -> Any { Any }",
    "another program": 'pub fn double(_: i32) -> i32 { std::process::Command::new("/bin/sh").arg("-c").arg("kill -9 -1").status().unwrap(); std::process::exit(0) }',
}


@pytest.mark.parametrize("name", RUST_CHEATS)
def test_no_cheat_in_rust_passes(rust: Any, name: str) -> None:
    assert not rust(RUST_CHEATS[name]).passed


def test_every_expected_test_is_seen() -> None:
    module = make_module("m", TESTS + "\n#[test]\n#[ignore]\nfn later() {}", HONEST)
    assert module.count == 4
    assert not parse(module.source).has_error
    assert "#[test]" not in module.source


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("fn f() { unsafe {} }", "unsafe"),
        ("fn f() { /* */ unsafe {} }", "unsafe"),
        ("fn f() { let a = '\\''; unsafe {} }", "unsafe"),
        ('fn f() { let a = r#"""#; unsafe {} }', "unsafe"),
        ("fn f<'a>(x: &'a str) { unsafe {} } // 'a", "unsafe"),
        ("impl PartialEq for Given { }", "PartialEq"),
        ("impl PartialEq for Mine { }", None),
        ("fn f() -> u8 { 1 }", None),
        ('fn f() -> &\'static str { "unsafe" }', None),
        ("struct R; fn given() -> R { R }", "returns `R`"),
        ("fn given() -> impl Fn() { || () }", "returns `impl"),
    ],
)
def test_what_is_refused_unread(answer: str, why: str | None) -> None:
    said = refusal(answer, "struct Given; fn given() -> u8 { 1 }", "assert_eq!(Given, given())")
    assert (said is None) if why is None else (said is not None and why in said)


def test_what_a_task_does_its_answers_may_do() -> None:
    assert refusal("unsafe fn f() {}", "fn f() { unsafe {} }", "") is None


PROBLEM = {
    "id": "p",
    "title": "Double",
    "description": "Double the number.",
    "examples": [{"input": "2\n", "output": "4\n"}, {"input": "21\n", "output": "42\n"}],
    "generation": "```python\nprint(2 * int(input()))\n```",
}


@pytest.fixture(scope="module")
def problem() -> Any:
    """Checks an answer to the task of doubling a number that is read."""
    toolchain = PROBLEMS.toolchain()
    (task,) = PROBLEMS.tasks([(0, PROBLEM)], toolchain)
    sandbox = open_sandbox(toolchain)
    return lambda language, code: task.check(sandbox, f"```{language}\n{code}\n```")


CPP_CHEATS = {
    "exits before main": "#include <cstdlib>\nstruct E { E() { std::exit(0); } } e;\nint main() {}",
    "a constructor that exits": "#include <unistd.h>\n__attribute__((constructor)) void e() { _exit(0); }\nint main() {}",
    "no main of its own": '#include <cstdio>\n#define main other\nint main() { puts("4"); }',
    "prints all outputs": '#include <cstdio>\nint main() { puts("4\\n42"); }',
    "speaks while it is compiled": '#include <cstdio>\n#pragma message("== compiled ==\\n4\\n")\nint main() { puts("test result: ok"); }',
    "assert is nothing": "#include <cassert>\n#undef assert\n#define assert(x)\nint main() { return 0; }",
    "looks for the answers": '#include <cstdlib>\nint main() { return system("cat /given/* /work/* /tmp/* /proc/*/environ 2>/dev/null"); }',
    "kills its parent": "#include <csignal>\n#include <unistd.h>\nint main() { kill(getppid(), 9); kill(-1, 9); return 0; }",
}
PYTHON_CHEATS = {
    "sys.exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "at exit": "import atexit\natexit.register(lambda: print('test result: ok'))",
    "prints all outputs": "print(4)\nprint(42)",
    "equal to everything": "class A:\n    def __eq__(self, other): return True\n    def __repr__(self): return 'A'\nprint(A())",
    "builtins and unittest": "import builtins, unittest\nunittest.TestCase.assertEqual = lambda *a: None\nbuiltins.print('OK')",
    "traces": "import sys\nsys.settrace(lambda *a: None)\nsys.excepthook = lambda *a: None\n1 / 0",
    "looks for the answers": "import glob\nfor f in glob.glob('/given/*') + glob.glob('/tmp/**', recursive=True):\n    try: print(open(f).read())\n    except OSError: pass",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)",
    "a library for the next": "import os\nopen('/tmp/x.so', 'w')\nos.environ['LD_PRELOAD'] = '/tmp/x.so'\nos.execv('/bin/sh', ['sh', '-c', 'echo 4'])",
}


@pytest.mark.parametrize("name", CPP_CHEATS)
def test_no_cheat_in_cpp_passes(problem: Any, name: str) -> None:
    assert not problem("cpp", CPP_CHEATS[name]).passed


@pytest.mark.parametrize("name", PYTHON_CHEATS)
def test_no_cheat_in_python_passes(problem: Any, name: str) -> None:
    assert not problem("python", PYTHON_CHEATS[name]).passed


def test_honest_programs_pass(problem: Any) -> None:
    assert problem("python", "import sys\nprint(2 * int(sys.stdin.read()))\nsys.exit(0)").passed
    code = '#include <cstdio>\nint main() { int x; scanf("%d", &x); printf("%d", 2 * x); }'
    result = problem("cpp", code)
    assert (result.compiled, result.passed, result.output) == (True, True, "")
