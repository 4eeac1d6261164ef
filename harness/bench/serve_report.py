def sections(summary):
    return []


def headline(summary):
    for b in summary["best"]:
        yield str(b)
    for e in summary["experiments"]:
        yield str((e["name"], e["quality"]["accuracy"]["mean"], e["quality"]["kept"]))


def write_serve_report(path, summary):
    return []
