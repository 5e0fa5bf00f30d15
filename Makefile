# SPDX-License-Identifier: Apache-2.0
# Thin: tools/setup provides what is needed, the rest is in tools/, meson and pip.
.PHONY: help build wheels demo docs test test-cassandra bench plots soak fuzz clean

help:
	@echo 'make demo    four workers on real data, with and without the arena: memory, cold start, stampede'
	@echo '             ORIGIN=postgres TIER=redis-cluster: and two machines on these'
	@echo 'make docs    the documentation site, into build/site'
	@echo 'make test    everything that is tested; SECTIONS="unit python" for some of it'
	@echo 'make test-cassandra   what needs a Cassandra node, which takes Java; make test does it where there is one'
	@echo 'make bench   side by side with its peers'
	@echo 'make plots   docs/plots of bench/results.json, which python bench results makes of what was measured'
	@echo 'make soak    the long versions of the proof; hours'
	@echo 'make fuzz    fuzz targets, SECONDS=600 each'
	@echo 'make build   library and command in build/release, wheel in build/venv'
	@echo 'make wheels  what is published, in dist/, tested in clean environments'
	@echo 'make clean   removes build/ and dist/'
	@echo 'ARGS=... is handed on to demo and bench.'

build:
	tools/setup build
	@tools/build

demo: build
	tools/setup demo $(if $(ORIGIN)$(TIER),engines) $(if $(filter cassandra,$(ORIGIN)),cassandra)
	$(if $(filter cassandra,$(ORIGIN)),tools/cassandra/fetch)
	build/venv/bin/forebay demo $(if $(ORIGIN),--origin '$(ORIGIN)') $(if $(TIER),--tier '$(TIER)') $(ARGS)

docs:
	tools/setup build
	build/venv/bin/python tools/test docs

test:
	tools/setup build test wheels examples
	build/venv/bin/python tools/test $(SECTIONS)

wheels:
	tools/setup build test wheels
	build/venv/bin/python tools/test wheels

test-cassandra:
	tools/setup build test cassandra
	build/venv/bin/python tools/test cassandra

bench: build
	tools/setup test bench
	build/venv/bin/python bench $(ARGS)

plots: build
	tools/setup bench
	build/venv/bin/python bench plot bench/results.json -o docs/plots

soak:
	tools/setup build test
	build/venv/bin/python tools/test --soak $(or $(SECTIONS),torture stress step model tsan python servers)

fuzz: SECONDS = 600
fuzz:
	tools/setup build test
	FOREBAY_FUZZ_SECONDS=$(SECONDS) build/venv/bin/python tools/test fuzz

clean:
	rm -rf build dist
