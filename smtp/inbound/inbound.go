package inbound
