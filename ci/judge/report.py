"""Figures with their bars: printed as they come, kept for a table and a file."""

import json
import platform
import os
import sys
import time


class Report:
    """Collects rows; `finish` writes them out and gives the exit code."""

    def __init__(self, title):
        self.title = title
        self.command = "python3 " + " ".join(sys.argv)
        self.rows = []

    def row(self, what, value, bar, passed, note=""):
        """One figure. `passed` None means that it is only told."""
        self.rows.append({"what": what, "value": value, "bar": bar, "passed": passed, "note": note})
        mark = {True: "pass", False: "FAIL", None: "info"}[passed]
        print(f"{mark}  {what}: {value}  (bar: {bar}){'  ' + note if note else ''}", flush=True)
        return passed is not False

    def finish(self, json_path=None):
        failed = [row for row in self.rows if row["passed"] is False]
        if json_path:
            with open(json_path, "w", encoding="utf-8") as file:
                json.dump({"title": self.title, "command": self.command, "machine": machine(), "rows": self.rows}, file, indent=1)
                file.write("\n")
        print(f"{self.title}: {len(self.rows) - len(failed)} of {len(self.rows)} rows hold, with: {self.command}")
        return 1 if failed else 0

    def markdown(self):
        lines = ["| what | value | bar | |", "| --- | --- | --- | --- |"]
        for row in self.rows:
            mark = {True: "yes", False: "**no**", None: ""}[row["passed"]]
            lines.append(f"| {row['what']} | {row['value']} | {row['bar']} | {mark} {row['note']} |")
        return "\n".join(lines)


def machine():
    """What a figure must be read with."""
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "load": os.getloadavg()[0]}


def mib(count):
    return f"{count / (1 << 20):.1f} MiB"
