# SPDX-License-Identifier: Apache-2.0
"""What differs where init is supervisord: nothing hides the credentials, and a SIGTERM ends the database in good order."""


def test_init_is_supervisord(host):
    assert "supervisord" in host.file("/proc/1/cmdline").content_string


def test_the_credentials_are_where_they_were_mounted(host, declaration, manager, play):
    assert host.file(declaration.secret_target).is_directory and not host.file(declaration.secret_target).is_symlink
    assert play("secret") == 0
    assert manager()["token"] == "first token"


def test_the_database_was_shut_down_before_the_container_was_removed(host):
    said = host.check_output("supervisorctl -c /etc/supervisord.conf tail -10000 postgresql-9.5 stderr")
    assert "database system was shut down at" in said and "recovery" not in said
