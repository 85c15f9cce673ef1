"""Which of several replicas acts: Leases of the Kubernetes API, held by one at a time.

Compatible with client-go's leader election, so replicas of the originals and ours may contend for the same Leases.
"""
