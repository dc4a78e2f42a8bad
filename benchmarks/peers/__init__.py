"""What a user would take instead: other tools, trained on the same annotated patches for the same minutes.

`python -m benchmarks.peers.NAME_peer --data FOLDER --images FOLDER --out FOLDER` for NAME torchvision (in our
environment), stardist, cellpose and instanseg (each in the environment of its file of requirements here). All
are trained as their own documentation says, from what pip alone can install: torchvision from ImageNet
weights of the backbone, the others from random weights.
"""
