#!/usr/bin/env bash
# How cost grows with the size of payloads, the number of readers and that of segments: measures, and draws
# docs/growth-size.svg, growth-readers.svg and growth-segments.svg. The lines stay in build/bench/growth.txt.
#
#   ROUNDS  how often, in turn; 5
#   DOCS    the folder for the plots; docs
source "$(dirname "$0")/setup.sh"
python_ready "the plots" || exit 0
lines=$out/growth.txt
started=$SECONDS
made_on "$lines"
$go test -c -o "$out/judemap.test" .
for ((round = 1; round <= ${ROUNDS:-5}; round++)); do
  "$out/judemap.test" -test.run '^$' -test.bench 'Grow|Wake|CommitBesideReaders|ManySegments' -test.benchtime 50ms | tee -a "$lines"
done
"$python" bench/plot.py "$lines" "${DOCS:-docs}"
echo "measured for $((SECONDS - started)) s; the lines are in $lines"
