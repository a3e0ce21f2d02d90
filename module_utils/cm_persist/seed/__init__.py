# SPDX-License-Identifier: Apache-2.0
"""Copy originals from the image into the volume, once; and take them out of it again.

look without a lock; refuse what cannot work, before anything is changed
take lease and lock, look and plan again
copy each original into staging, with its manifest
write all of it to disk
publish each copy by one rename, fsync its parent
write the record, remove staging
"""
