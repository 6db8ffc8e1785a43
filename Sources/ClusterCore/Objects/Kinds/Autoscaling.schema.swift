// Horizontal autoscaling, and the scale of workloads. Version 2 stands first: it is preferred and stored.
// Names, types and numbers are facts of the public API; the grammar is told in Schema/SchemaText.swift.

extension SchemaText {
  static let autoscaling = #"""
    group autoscalingV2 autoscaling v2 io.k8s.api.autoscaling.v2
    kind HorizontalPodAutoscaler horizontalpodautoscalers short=hpa cat=all ns sub=status
    type HorizontalPodAutoscaler
      metadata meta.ObjectMeta #1
      spec HorizontalPodAutoscalerSpec! #2
      status HorizontalPodAutoscalerStatus+ #3
    type HorizontalPodAutoscalerSpec
      scaleTargetRef CrossVersionObjectReference! #1
      minReplicas int32? #2 = 1
      maxReplicas int32! #3
      metrics []MetricSpec #4 atomic
      behavior HorizontalPodAutoscalerBehavior? #5
    type CrossVersionObjectReference
      kind string! #1 "What this object is.
      name string! #2
      apiVersion string #3 "Group and version of this object's form.
    type MetricSpec
      type string! #1
      object ObjectMetricSource? #2
      pods PodsMetricSource? #3
      resource ResourceMetricSource? #4
      containerResource ContainerResourceMetricSource? #7
      external ExternalMetricSource? #5
    type ObjectMetricSource
      describedObject CrossVersionObjectReference! #1
      target MetricTarget! #2
      metric MetricIdentifier! #3
    type MetricTarget
      type string! #1
      value quantity? #2
      averageValue quantity? #3
      averageUtilization int32? #4
    type MetricIdentifier
      name string! #1
      selector meta.LabelSelector? #2
    type PodsMetricSource
      metric MetricIdentifier! #1
      target MetricTarget! #2
    type ResourceMetricSource
      name string! #1
      target MetricTarget! #2
    type ContainerResourceMetricSource
      name string! #1
      target MetricTarget! #2
      container string! #3
    type ExternalMetricSource
      metric MetricIdentifier! #1
      target MetricTarget! #2
    type HorizontalPodAutoscalerBehavior
      scaleUp HPAScalingRules? #1
      scaleDown HPAScalingRules? #2
    type HPAScalingRules
      stabilizationWindowSeconds int32? #3
      selectPolicy string? #1 enum(Max|Min|Disabled)
      policies []HPAScalingPolicy #2 atomic
      tolerance quantity? #4
    type HPAScalingPolicy
      type string! #1
      value int32! #2
      periodSeconds int32! #3
    type HorizontalPodAutoscalerStatus
      observedGeneration int64? #1
      lastScaleTime time? #2
      currentReplicas int32 #3
      desiredReplicas int32! #4
      currentMetrics []MetricStatus+ #5 atomic
      conditions []HorizontalPodAutoscalerCondition #6 merge(type) map(type)
    type MetricStatus
      type string! #1
      object ObjectMetricStatus? #2
      pods PodsMetricStatus? #3
      resource ResourceMetricStatus? #4
      containerResource ContainerResourceMetricStatus? #7
      external ExternalMetricStatus? #5
    type ObjectMetricStatus
      metric MetricIdentifier! #1
      current MetricValueStatus! #2
      describedObject CrossVersionObjectReference! #3
    type MetricValueStatus
      value quantity? #1
      averageValue quantity? #2
      averageUtilization int32? #3
    type PodsMetricStatus
      metric MetricIdentifier! #1
      current MetricValueStatus! #2
    type ResourceMetricStatus
      name string! #1
      current MetricValueStatus! #2
    type ContainerResourceMetricStatus
      name string! #1
      current MetricValueStatus! #2
      container string! #3
    type ExternalMetricStatus
      metric MetricIdentifier! #1
      current MetricValueStatus! #2
    type HorizontalPodAutoscalerCondition
      type string! #1
      status string! #2
      lastTransitionTime time #3
      reason string #4
      message string #5
      observedGeneration int64? #6
    group autoscaling autoscaling v1 io.k8s.api.autoscaling.v1
    kind HorizontalPodAutoscaler horizontalpodautoscalers short=hpa cat=all ns sub=status
    hidden Scale
    type HorizontalPodAutoscaler
      metadata meta.ObjectMeta #1
      spec HorizontalPodAutoscalerSpec! #2
      status HorizontalPodAutoscalerStatus+ #3
    type HorizontalPodAutoscalerSpec
      scaleTargetRef CrossVersionObjectReference! #1
      minReplicas int32? #2 = 1
      maxReplicas int32! #3
      targetCPUUtilizationPercentage int32? #4
    type CrossVersionObjectReference
      kind string! #1 "What this object is.
      name string! #2
      apiVersion string #3 "Group and version of this object's form.
    type HorizontalPodAutoscalerStatus
      observedGeneration int64? #1
      lastScaleTime time? #2
      currentReplicas int32! #3
      desiredReplicas int32! #4
      currentCPUUtilizationPercentage int32? #5
    type Scale
      metadata meta.ObjectMeta #1
      spec ScaleSpec+ #2
      status ScaleStatus+ #3
    type ScaleSpec
      replicas int32 #1
    type ScaleStatus
      replicas int32! #1
      selector string #2
    """#
}
