// `/stats/summary`: what the machine uses, for those who ask the kubelet. Pods' own use is not measured yet.

import ClusterObjects

func planStatsSummary(_ settings: NodeSettings, _ machine: MachineInfo, now: String) -> JSON {
  let used = max(machine.memoryBytes - machine.memoryAvailableBytes, 0)
  return [
    "node": [
      "nodeName": JSON(settings.nodeName), "startTime": JSON(now),
      "memory": [
        "time": JSON(now), "availableBytes": JSON(machine.memoryAvailableBytes), "usageBytes": JSON(used),
        "workingSetBytes": JSON(used),
      ],
      "fs": [
        "time": JSON(now), "availableBytes": JSON(machine.diskFreeBytes),
        "capacityBytes": JSON(machine.diskBytes),
        "usedBytes": JSON(max(machine.diskBytes - machine.diskFreeBytes, 0)),
      ],
    ], "pods": [],
  ]
}
