"""Stands for the engine in tests; FAKE says what it does."""

import json
import os
import signal
import subprocess
import sys
import time


def say(**event):
    print(json.dumps(event), flush=True)


def main():
    mode = os.environ.get("FAKE", "fine")
    if "--version" in sys.argv:
        if mode == "broken":
            sys.exit("ImportError: libfoo.so.1: cannot open shared object file")
        if mode == "ancient":
            print("Usage: geodiffrecon\nError: No such option: --json", file=sys.stderr)
            sys.exit(2)
        version = "0.0.9" if mode == "old" else "0.1.0"
        about = {"version": version, "protocol": 99 if mode == "newer" else 1}
        if "FAKE_PROTOCOL" in os.environ:
            about["protocol"] = json.loads(os.environ["FAKE_PROTOCOL"])
        print("something else 1.0" if mode == "other" else json.dumps(about))
        return
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"])
        say(event="log", message=f"{child.pid}")
    if mode in ("stubborn", "slow"):
        for value in range(6000):
            say(event="progress", value=min(value, 99), message="waiting")
            time.sleep(0.1)
    if mode == "error":
        say(event="error", message="Times have no zone; give it with --tz.")
        sys.exit(1)
    if mode == "usage":
        print("Usage: geodiffrecon\nError: No such option: --new", file=sys.stderr)
        sys.exit(2)
    if mode == "silent":
        return
    if mode.startswith("orphan"):
        child = subprocess.Popen(["sleep", "600"], start_new_session=mode.endswith("own"))
        say(event="log", message=f"{child.pid}")
        say(event="result", outputs=[])
        return
    if mode == "mute":
        os.close(1)
        os.close(2)
        time.sleep(600)
    if mode == "lifeline":
        say(event="result", lifeline=os.environ["GEODIFFRECON_LIFELINE"])
        return
    if mode == "odd":
        sys.stdout.buffer.write(b'{"event": 5}\n\xff\xfe\n' + b"[" * 100_000 + b"\n{}\n")
        say(event="result", outputs=[])
        return
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("a line that is no JSON")
    print("café on stderr", file=sys.stderr)
    say(event="progress", value=50, message="working")
    foreign = [key for key in os.environ if key.startswith(("PROJ_", "QT_", "VIRTUAL_ENV"))]
    say(event="result", outputs=[], foreign=foreign, arguments=sys.argv[1:], folder=os.getcwd())


main()
