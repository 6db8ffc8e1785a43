// Horizontal autoscaling, and the scale of workloads. Version 2 stands first: it is preferred and stored.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let autoscaling = #"""
    group autoscalingV2 autoscaling v2 io.k8s.api.autoscaling.v2
    kind HorizontalPodAutoscaler horizontalpodautoscalers short=hpa cat=all ns sub=status
    type HorizontalPodAutoscaler "Makes pods more or fewer as they are needed.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec HorizontalPodAutoscalerSpec! #2 "What is asked for.
      status HorizontalPodAutoscalerStatus+ #3 "What was last observed.
    type HorizontalPodAutoscalerSpec "What is scaled, and by what.
      scaleTargetRef CrossVersionObjectReference! #1 "What is scaled.
      minReplicas int32? #2 = 1 "The least pods.
      maxReplicas int32! #3 "The most pods.
      metrics []MetricSpec #4 atomic "What is looked at; the one that asks for most wins.
      behavior HorizontalPodAutoscalerBehavior? #5 "How fast it may go up and down.
    type CrossVersionObjectReference "Names an object that can be scaled.
      kind string! #1 "What the object is.
      name string! #2 "The object's name.
      apiVersion string #3 "The object's group and version.
    type MetricSpec "One thing that is looked at.
      type string! #1 "Which of the sources it is.
      object ObjectMetricSource? #2 "A number of one object.
      pods PodsMetricSource? #3 "A number that each pod has.
      resource ResourceMetricSource? #4 "A resource of the pods.
      containerResource ContainerResourceMetricSource? #7 "A resource of one container of the pods.
      external ExternalMetricSource? #5 "A number from outside of the cluster.
    type ObjectMetricSource "A number of one object.
      describedObject CrossVersionObjectReference! #1 "The object.
      target MetricTarget! #2 "What it should be.
      metric MetricIdentifier! #3 "The number.
    type MetricTarget "What a number should be.
      type string! #1 "How the target is meant: Utilization, Value or AverageValue.
      value quantity? #2 "The number.
      averageValue quantity? #3 "The number for each pod.
      averageUtilization int32? #4 "The share of what is requested, in percent.
    type MetricIdentifier "Names a number.
      name string! #1 "Its name.
      selector meta.LabelSelector? #2 "Labels it must have.
    type PodsMetricSource "A number that each pod has.
      metric MetricIdentifier! #1 "The number.
      target MetricTarget! #2 "What it should be.
    type ResourceMetricSource "A resource of the pods.
      name string! #1 "The resource, such as cpu.
      target MetricTarget! #2 "What it should be.
    type ContainerResourceMetricSource "A resource of one container of the pods.
      name string! #1 "The resource, such as cpu.
      target MetricTarget! #2 "What it should be.
      container string! #3 "The container.
    type ExternalMetricSource "A number from outside of the cluster.
      metric MetricIdentifier! #1 "The number.
      target MetricTarget! #2 "What it should be.
    type HorizontalPodAutoscalerBehavior "How fast it may go.
      scaleUp HPAScalingRules? #1 "Up.
      scaleDown HPAScalingRules? #2 "Down.
    type HPAScalingRules "How fast it may go in one direction.
      stabilizationWindowSeconds int32? #3 "How far back it looks before it follows.
      selectPolicy string? #1 enum(Max|Min|Disabled) "Which policy counts: Max, Min, or Disabled for none.
      policies []HPAScalingPolicy #2 atomic "How much at a time.
      tolerance quantity? #4 "How far off a number may be before anything is done.
    type HPAScalingPolicy "How much it may change in a time.
      type string! #1 "Pods or Percent.
      value int32! #2 "How much.
      periodSeconds int32! #3 "In which time.
    type HorizontalPodAutoscalerStatus "How an autoscaler stands.
      observedGeneration int64? #1 "The generation that this was observed at.
      lastScaleTime time? #2 "When it last changed anything.
      currentReplicas int32 #3 "Pods there are.
      desiredReplicas int32! #4 "Pods there should be.
      currentMetrics []MetricStatus+ #5 atomic "What was last seen.
      conditions []HorizontalPodAutoscalerCondition #6 merge(type) map(type) "What was last observed, one \#
    entry a type.
    type MetricStatus "One thing that was seen.
      type string! #1 "Which of the sources it is.
      object ObjectMetricStatus? #2 "A number of one object.
      pods PodsMetricStatus? #3 "A number that each pod has.
      resource ResourceMetricStatus? #4 "A resource of the pods.
      containerResource ContainerResourceMetricStatus? #7 "A resource of one container of the pods.
      external ExternalMetricStatus? #5 "A number from outside of the cluster.
    type ObjectMetricStatus "What was seen of one object.
      metric MetricIdentifier! #1 "The number.
      current MetricValueStatus! #2 "What it is.
      describedObject CrossVersionObjectReference! #3 "The object.
    type MetricValueStatus "What a number is.
      value quantity? #1 "The number.
      averageValue quantity? #2 "The number for each pod.
      averageUtilization int32? #3 "The share of what is requested, in percent.
    type PodsMetricStatus "What was seen of the pods.
      metric MetricIdentifier! #1 "The number.
      current MetricValueStatus! #2 "What it is.
    type ResourceMetricStatus "What was seen of a resource.
      name string! #1 "The resource.
      current MetricValueStatus! #2 "What it is.
    type ContainerResourceMetricStatus "What was seen of a resource of one container.
      name string! #1 "The resource.
      current MetricValueStatus! #2 "What it is.
      container string! #3 "The container.
    type ExternalMetricStatus "What was seen outside of the cluster.
      metric MetricIdentifier! #1 "The number.
      current MetricValueStatus! #2 "What it is.
    type HorizontalPodAutoscalerCondition "One thing observed of an autoscaler.
      type string! #1 "Which condition this is.
      status string! #2 "True, False or Unknown.
      lastTransitionTime time #3 "When the status last changed.
      reason string #4 "One word for why, for programs.
      message string #5 "What happened, for people.
      observedGeneration int64? #6 "The generation that this was observed at.
    group autoscaling autoscaling v1 io.k8s.api.autoscaling.v1
    kind HorizontalPodAutoscaler horizontalpodautoscalers short=hpa cat=all ns sub=status
    hidden Scale
    type HorizontalPodAutoscaler "Makes pods more or fewer as they are needed.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec HorizontalPodAutoscalerSpec! #2 "What is asked for.
      status HorizontalPodAutoscalerStatus+ #3 "What was last observed.
    type HorizontalPodAutoscalerSpec "What is scaled, and by what.
      scaleTargetRef CrossVersionObjectReference! #1 "What is scaled.
      minReplicas int32? #2 = 1 "The least pods.
      maxReplicas int32! #3 "The most pods.
      targetCPUUtilizationPercentage int32? #4 "How busy the cpu should be, as a share of what is requested.
    type CrossVersionObjectReference atomic "Names an object that can be scaled.
      kind string! #1 "What the object is.
      name string! #2 "The object's name.
      apiVersion string #3 "The object's group and version.
    type HorizontalPodAutoscalerStatus "How an autoscaler stands.
      observedGeneration int64? #1 "The generation that this was observed at.
      lastScaleTime time? #2 "When it last changed anything.
      currentReplicas int32! #3 "Pods there are.
      desiredReplicas int32! #4 "Pods there should be.
      currentCPUUtilizationPercentage int32? #5 "How busy the cpu is, as a share of what is requested.
    type Scale "How many pods something has and should have.
      metadata meta.ObjectMeta #1 "Names, labels and what the server keeps about the object.
      spec ScaleSpec+ #2 "What is asked for.
      status ScaleStatus+ #3 "What was last observed.
    type ScaleSpec "How many there should be.
      replicas int32 #1 "Pods wanted.
    type ScaleStatus "How many there are.
      replicas int32! #1 "Pods there are.
      selector string #2 "Which pods they are, as a label selector.
    """#
}
