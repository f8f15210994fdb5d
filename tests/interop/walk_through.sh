#!/bin/bash
# Contract §6's walk-through, word for word; the two ports alone are arguments. Prints the job's id, what
# the stream said, and the state at the end.
set -euo pipefail
mare=$1 triton=$2
curl() {
  local arguments=()
  for argument; do
    argument=${argument/localhost:16000/127.0.0.1:$mare}
    arguments+=("${argument/localhost:8000/127.0.0.1:$triton}")
  done
  command curl --noproxy '*' "${arguments[@]}"
}

# --- contract
CLIENT_ID=$(curl -s http://localhost:8000/clients/ | jq -r '.clients[0].id')
JOB_ID=$(curl -s -X POST "http://localhost:16000/v1/triton/clients/$CLIENT_ID/generate-templates" | jq -r '.job_id')
# --- end
echo "$JOB_ID"
# --- contract
curl -N "http://localhost:16000/v1/triton/jobs/$JOB_ID/subscribe"
# polling still works, for whoever polls
until [ "$(curl -s localhost:16000/v1/triton/jobs/$JOB_ID | jq -r .status)" = completed ]; do sleep 2; done
# --- end
echo 'the poll has ended'
