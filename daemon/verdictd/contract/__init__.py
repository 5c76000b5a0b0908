"""Wire contract: submissions, results and their JSON Schemas.

May import the bottom rooms only: errors, files, concurrency and logs.
"""
