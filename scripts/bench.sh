#!/bin/bash
# The benchmark behind the figures in docs/performance.md: bench.sh HOIST. Records go to benchmarks/records/.
set -eu
hoist=$1
day=$(date -u +%Y-%m-%d)

run() { # NAME OPTION...: one demo, its records in a file of its own
  name=$1 && shift
  record=benchmarks/records/$day-switch-$name.jsonl
  rm -f "$record"
  echo "== $name: hoist demo $*"
  "$hoist" demo --quiet --record "$record" "$@"
}

# Hoist, its peers and the raw limits, 2 GiB: loads from each source, publishes, some tensors of many; and the profile.
suite=benchmarks/records/$day-suite.jsonl
rm -f "$suite"
echo "== suite: hoist bench suite --peer all"
"$hoist" bench suite --peer all --repeat "${REPEAT:-5}" --record "$suite" ${FOLDER:+--folder "$FOLDER"}

# The mount beside other mounts of the same bucket. What is slower than the patience is given up.
mount=benchmarks/records/$day-mount.jsonl
rm -f "$mount"
echo "== mount: hoist bench mount --peer all"
"$hoist" bench mount --peer all --repeat "${REPEAT:-3}" --patience 10 --record "$mount" ${FOLDER:+--folder "$FOLDER"}

# Images beside skopeo and podman, on a docker-registry: pushes, pulls, an update, a load by range, memory.
image=benchmarks/records/$day-image.jsonl
rm -f "$image"
echo "== image: hoist bench image --peer all"
"$hoist" bench image --peer all --repeat "${REPEAT:-3}" --record "$image" ${FOLDER:+--folder "$FOLDER"}

# Many instances at once, from each storage behind a link of a quarter of its bandwidth (as root; else by a wrapper).
herd=benchmarks/records/$day-herd.jsonl
rm -f "$herd"
echo "== herd: hoist bench herd"
"$hoist" bench herd --repeat "${REPEAT:-3}" --record "$herd" --plot benchmarks/herd.svg ${FOLDER:+--folder "$FOLDER"}

# The simulator beside that herd, and how long it takes itself.
"$hoist" simulate --validate "$herd" --markdown benchmarks/simulator.md
simulator=benchmarks/records/$day-simulate.jsonl
rm -f "$simulator"
"$hoist" simulate --timing --record "$simulator"

# The accelerator: a herd of 16 cold instances before a slow origin, and what it costs when it is warm.
accelerator=benchmarks/records/$day-accelerator.jsonl
rm -f "$accelerator"
echo "== accelerator: hoist bench accelerator"
"$hoist" bench accelerator --repeat "${REPEAT:-3}" --record "$accelerator" ${FOLDER:+--folder "$FOLDER"}

# Instances that share a host, and a Ray cluster's.
fleet=benchmarks/records/$day-fleet.jsonl
rm -f "$fleet"
echo "== fleet: hoist bench fleet"
"$hoist" bench fleet --repeat "${REPEAT:-3}" --record "$fleet" ${FOLDER:+--folder "$FOLDER"}

# NFS without a mount, where there is a server for it (root, nfs-ganesha).
nfs=benchmarks/records/$day-nfs.jsonl
rm -f "$nfs"
echo "== nfs: hoist bench nfs"
"$hoist" bench nfs --repeat "${REPEAT:-5}" --record "$nfs" ${FOLDER:+--folder "$FOLDER"} || touch "$nfs"

# Regions: copies beside rclone, a sync of what is in step already, a load whose region is lost in the middle.
regions=()
for verb in copy sync failover; do
  record=benchmarks/records/$day-$verb.jsonl
  rm -f "$record"
  echo "== $verb: hoist bench $verb"
  "$hoist" bench "$verb" --repeat "${REPEAT:-3}" --record "$record" ${FOLDER:+--folder "$FOLDER"}
  regions+=("$record")
done

# A served function: switching back, sharing, its own cost, its health while it loads, a crowd; and the ten models through it.
function=benchmarks/records/$day-function.jsonl
functions=benchmarks/records/$day-switch-function.jsonl
rm -f "$function"
echo "== function: hoist bench function"
"$hoist" bench function --repeat "${REPEAT:-3}" --record "$function" ${FOLDER:+--folder "$FOLDER"}
run function --function --scale 0.25 --repeat 3
"$hoist" bench targets "$suite" "$mount" "$image" "$accelerator" "$herd" "$fleet" "$nfs" "$function" "$functions" \
  "${regions[@]}" --markdown benchmarks/targets.md
"$hoist" bench profile --markdown benchmarks/profile.md ${FOLDER:+--folder "$FOLDER"}

# A checkpoint at its real size, 1.99 GiB, from a directory and from each S3 server.
run real-size-radosgw --scale 1 --only anything-v5.0 --repeat 3 --server radosgw --mounted
run real-size-rclone --scale 1 --only anything-v5.0 --repeat 3 --server rclone
# The access pattern: tensor by tensor in the order in which a model asks, and no whole-file hash.
run tensor-order --scale 0.5 --only anything-v5.0 --repeat 3 --access tensors --no-hash
# All ten, a quarter as wide.
run ten-models --scale 0.25 --repeat 3
