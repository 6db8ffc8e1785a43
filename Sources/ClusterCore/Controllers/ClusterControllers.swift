// One folder a controller: each makes the cluster what its objects say it should be.
