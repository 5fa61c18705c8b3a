"""One module a verb, imported only when that verb runs: `Config` is its flags, `run(config)` does it and renders it."""
